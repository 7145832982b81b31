//! Levels of one token's user, whose role is shared by all.

use hiems_tests::ResultExt;

use super::tokens::{Site, claims};
use super::{MY_VIEWS, REPORTS, call, text, users_seen};

/// Calls of two subjects that share a role.
fn used() -> Site {
    let site = Site::new("caller");
    let mut client = site.connect();
    for sub in ["ada", "owner"] {
        let mut request = site.request(&mut client, &claims(sub));
        call(&mut request, "").expect("an answer");
        request.commit().expect("a commit");
    }
    site
}

#[test]
fn a_reading_subject_sees_every_row_and_the_others_their_own() {
    let site = used();
    let mut admin = site.database.admin();
    admin.execute("SELECT hiems.grant_user_access('owner', 'reader')", &[]).expect("a level");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("owner"));
    assert_eq!(users_seen(&mut request), ["ada", "owner"]);
    for view in MY_VIEWS {
        let calls = text(&mut request, &format!("SELECT sum(calls)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("1"), "{view}");
    }
    drop(request);
    let mut request = site.request(&mut client, &claims("ada"));
    assert_eq!(users_seen(&mut request), ["ada"]);
    drop(request);

    let taken: bool = admin
        .query_one("SELECT hiems.revoke_access('owner')", &[])
        .expect("a level is taken")
        .get(0);
    assert!(taken);
    let mut request = site.request(&mut client, &claims("owner"));
    assert_eq!(users_seen(&mut request), ["owner"]);
}

/// The owner's dashboard reads the views as `authenticated`, like everybody's.
#[test]
fn a_reading_subject_sees_the_reports() {
    let site = used();
    site.database
        .admin()
        .execute("SELECT hiems.grant_user_access('owner', 'reader')", &[])
        .expect("a level");
    let mut client = site.connect();
    for view in REPORTS {
        let mut request = site.request(&mut client, &claims("owner"));
        let row = request
            .query_one(&format!("SELECT sum(calls)::text FROM hiems.{view}"), &[])
            .unwrap_or_else(|error| panic!("{view}: {error:?}"));
        assert_eq!(row.get::<_, String>(0), "2", "{view}");
    }
}

#[test]
fn an_administering_subject_administers() {
    let site = used();
    site.database
        .admin()
        .execute("SELECT hiems.grant_user_access('owner', 'admin')", &[])
        .expect("a level");
    let mut client = site.connect();
    let set = "SELECT hiems.set_exchange_rate('USD', 10.5, current_date, 'test')";
    let mut request = site.request(&mut client, &claims("ada"));
    assert_eq!(request.execute(set, &[]).sqlstate(), "42501");
    drop(request);
    let mut request = site.request(&mut client, &claims("owner"));
    assert_eq!(users_seen(&mut request), ["ada", "owner"]);
    request.execute(set, &[]).expect("an admin may set a rate, whatever its role");
}

#[test]
fn a_level_of_a_role_is_no_subject_s_and_the_other_way_round() {
    let mut site = used();
    let mut admin = site.database.admin();
    let boss = site.database.role("boss");
    admin
        .batch_execute(&format!(
            "SELECT hiems.grant_access('{boss}', 'reader');
             SELECT hiems.grant_user_access('{}', 'reader')",
            site.role
        ))
        .expect("levels");
    let mut client = site.connect();
    // A subject called like a role that reads.
    let mut request = site.request(&mut client, &claims(&boss));
    assert!(users_seen(&mut request).is_empty());
    drop(request);
    // A role called like a subject that reads, in a session without a token.
    admin.batch_execute(&format!("SET ROLE {}", site.role)).expect("a role");
    assert!(users_seen(&mut admin).is_empty());
}
