//! The functions that there are, out of the catalogue: a new one is attacked without a line here.

use postgres::Client;

/// A function or procedure of hiems's.
pub struct Function {
    pub name: String,
    pub is_procedure: bool,
    /// The name and the type of each argument.
    pub arguments: Vec<(String, String)>,
    /// How many of them need not be given.
    pub defaults: usize,
}

/// All that can be called in a statement: of both schemas, without the functions of triggers.
pub fn functions(admin: &mut Client) -> Vec<Function> {
    const FUNCTIONS: &str = "
        SELECT format('%I.%I', p.pronamespace::regnamespace, p.proname), p.prokind = 'p', p.pronargdefaults::int,
               ARRAY(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)
                     JOIN pg_type AS t ON t.oid = a.type ORDER BY a.place),
               coalesce(p.proargnames, '{}')
        FROM pg_proc AS p
        WHERE p.pronamespace IN ('hiems'::regnamespace, 'hiems_private'::regnamespace)
          AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        ORDER BY 1";
    let found: Vec<Function> = admin
        .query(FUNCTIONS, &[])
        .expect("the catalogue")
        .iter()
        .map(|row| Function {
            name: row.get(0),
            is_procedure: row.get(1),
            // Names of columns that come out follow those of arguments.
            arguments: row
                .get::<_, Vec<String>>(4)
                .into_iter()
                .zip(row.get::<_, Vec<String>>(3))
                .collect(),
            defaults: row.get::<_, i32>(2) as usize,
        })
        .collect();
    assert!(found.len() > 30, "{} functions", found.len());
    found
}
