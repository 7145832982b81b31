//! What the rules say: who has which level, which calls were made, who sees them.

use std::collections::{BTreeMap, BTreeSet};

/// The granted levels that give one.
const LEVELS: [(&str, &[&str]); 4] = [
    ("caller", &["caller", "admin", "service"]),
    ("reader", &["reader", "admin"]),
    ("admin", &["admin"]),
    ("service", &["service"]),
];

/// Who acts: how it comes in, and who it is then.
pub struct Actor {
    pub login: String,
    /// SQL that makes a transaction this actor's.
    pub becomes: String,
    pub role: String,
    /// Roles whose privileges it has, its own included.
    pub roles: Vec<String>,
    pub is_superuser: bool,
    pub is_token: bool,
    /// The token's subject.
    pub subject: Option<String>,
}

impl Actor {
    pub fn principal(&self) -> Option<String> {
        if self.is_token {
            return self.subject.as_ref().map(|subject| format!("jwt:{subject}"));
        }
        Some(format!("role:{}", self.role))
    }

    pub fn user_id(&self) -> Option<String> {
        if self.is_token { self.subject.clone() } else { Some(self.role.clone()) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Role,
    User,
}

/// A call that reached OpenRouter.
#[derive(Debug)]
pub struct Row {
    pub label: String,
    pub principal: String,
    pub user_id: String,
    pub use_case: Option<String>,
    pub model: String,
    pub outcome: &'static str,
    pub tokens: i64,
    /// In ten millionths of a dollar.
    pub cost: i64,
    /// SEK per dollar, in tenths, when it was made.
    pub rate: Option<i64>,
    /// False while it may, or may not, be booked yet.
    pub is_settled: bool,
}

/// What a row of a view should say.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Sums {
    pub calls: i64,
    pub failed: i64,
    pub tokens: i64,
    /// As text of ten millionths of a dollar, and of hundred millionths of a krona.
    pub cost: String,
    pub sek: String,
    pub without_rate: i64,
}

#[derive(Default)]
pub struct Model {
    levels: BTreeMap<(Kind, String), BTreeSet<String>>,
    pub rows: Vec<Row>,
    pub rate: Option<i64>,
}

impl Model {
    pub fn grant(&mut self, kind: Kind, grantee: &str, level: &str) {
        let of = self.levels.entry((kind, grantee.to_owned())).or_default();
        of.insert(level.to_owned());
    }

    /// True if there was one to take.
    pub fn revoke(&mut self, grantee: &str, level: Option<&str>) -> bool {
        let mut found = false;
        for kind in [Kind::Role, Kind::User] {
            let Some(of) = self.levels.get_mut(&(kind, grantee.to_owned())) else { continue };
            let before = of.len();
            of.retain(|has| level.is_some_and(|level| level != has));
            found |= of.len() < before;
        }
        found
    }

    fn levels_of(&self, kind: Kind, grantee: &str) -> impl Iterator<Item = &String> {
        self.levels.get(&(kind, grantee.to_owned())).into_iter().flatten()
    }

    /// True if it gets at anything of hiems at all: one of its roles has a level, whichever.
    pub fn reaches(&self, actor: &Actor) -> bool {
        actor.is_superuser
            || actor.roles.iter().any(|role| self.levels_of(Kind::Role, role).next().is_some())
    }

    pub fn has(&self, actor: &Actor, level: &str) -> bool {
        let (_, given_by) = LEVELS.iter().find(|(name, _)| *name == level).expect("a level");
        let roles = actor.roles.iter().flat_map(|role| self.levels_of(Kind::Role, role));
        let user = actor.subject.iter().flat_map(|subject| self.levels_of(Kind::User, subject));
        actor.is_superuser || roles.chain(user).any(|has| given_by.contains(&has.as_str()))
    }

    /// Whether it may make a call that names this user.
    pub fn may_call(&self, actor: &Actor, user: Option<&str>) -> bool {
        let names_other =
            actor.is_token && user.is_some_and(|user| actor.subject.as_deref() != Some(user));
        self.reaches(actor)
            && self.has(actor, "caller")
            && (!names_other || self.has(actor, "service"))
    }

    pub fn sees(&self, actor: &Actor, row: &Row) -> bool {
        self.has(actor, "reader") || actor.principal().as_ref() == Some(&row.principal)
    }

    /// Compares what an actor saw, in the ledger and on its way, with what it may see. A call is in one
    /// of them, or, for a moment, in both.
    pub fn check_seen(
        &mut self,
        actor: &Actor,
        seen: &BTreeSet<String>,
        on_their_way: &BTreeSet<String>,
        about: &str,
    ) {
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            let is_booked = seen.contains(&row.label);
            let is_seen = is_booked || on_their_way.contains(&row.label);
            assert_eq!(is_seen, self.sees(actor, row), "{about}: {row:?}");
            assert!(!is_seen || is_booked || !row.is_settled, "{about}: not booked: {row:?}");
            self.rows[at].is_settled |= is_booked;
        }
        let known: BTreeSet<String> = self.rows.iter().map(|row| row.label.clone()).collect();
        assert!(seen.is_subset(&known), "{about}: rows of no call");
        assert!(on_their_way.is_subset(&known), "{about}: calls on their way that nobody made");
    }

    /// The sums by `key` over the rows that were seen.
    pub fn sums(
        &self,
        seen: &BTreeSet<String>,
        only: Option<&str>,
        key: impl Fn(&Row) -> String,
    ) -> BTreeMap<String, Sums> {
        let mut sums: BTreeMap<String, (Sums, i64, i64)> = BTreeMap::new();
        let rows = self.rows.iter().filter(|row| seen.contains(&row.label));
        for row in rows.filter(|row| only.is_none_or(|only| row.principal == only)) {
            let (sum, cost, sek) = sums.entry(key(row)).or_default();
            sum.calls += 1;
            sum.failed += i64::from(row.outcome == "failed");
            sum.tokens += row.tokens;
            sum.without_rate += i64::from(row.rate.is_none());
            *cost += row.cost;
            *sek += row.cost * row.rate.unwrap_or_default();
        }
        sums.into_iter()
            .map(|(key, (sum, cost, sek))| {
                (key, Sums { cost: cost.to_string(), sek: sek.to_string(), ..sum })
            })
            .collect()
    }
}
