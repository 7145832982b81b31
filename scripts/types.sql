-- The TypeScript types of schema hiems, for supabase-js: one text. `scripts/types` writes it to a file.
WITH words AS (
    -- How PostgREST's JSON gives a type of PostgreSQL, and takes it.
    SELECT t.oid, CASE
        WHEN t.typname IN ('int2', 'int4', 'int8', 'float8', 'numeric') THEN 'number'
        WHEN t.typname = 'bool' THEN 'boolean'
        WHEN t.typname IN ('json', 'jsonb') THEN 'Json'
        ELSE 'string'
    END AS word
    FROM pg_type AS t
), columns AS (
    SELECT c.relname, c.relkind, format('          %s: %s%s', a.attname, w.word,
               CASE WHEN a.attnotnull THEN '' ELSE ' | null' END) AS line, a.attnum
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN words AS w ON w.oid = a.atttypid
    WHERE c.relnamespace = 'hiems'::regnamespace AND c.relkind IN ('r', 'v')
), relations AS (
    -- Nobody inserts or updates but hiems.
    SELECT relkind, relname, format(E'      %s: {\n        Row: {\n%s\n        }\n%s        Relationships: []\n      }',
        relname, string_agg(line, E'\n' ORDER BY attnum),
        CASE relkind WHEN 'r' THEN E'        Insert: { [column: string]: never }\n        Update: { [column: string]: never }\n'
        ELSE '' END) AS entry
    FROM columns GROUP BY relkind, relname
), arguments AS (
    SELECT p.oid, a.mode, a.place, w.word, a.name,
           a.mode = 'i' AND a.place > p.pronargs - p.pronargdefaults AS may_be_left_out
    FROM pg_proc AS p,
         LATERAL unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames,
                        coalesce(p.proargmodes, array_fill('i'::"char", ARRAY[p.pronargs::int])))
             WITH ORDINALITY AS a (type, name, mode, place)
    JOIN words AS w ON w.oid = a.type
    WHERE p.pronamespace = 'hiems'::regnamespace AND p.prokind = 'f'
), shapes AS (
    SELECT oid,
           string_agg(format('%s%s: %s | null', name, CASE WHEN may_be_left_out THEN '?' ELSE '' END, word), '; '
                      ORDER BY place) FILTER (WHERE mode = 'i') AS taken,
           string_agg(format('%s: %s | null', name, word), '; ' ORDER BY place) FILTER (WHERE mode = 't') AS given
    FROM arguments GROUP BY oid
), functions AS (
    SELECT p.proname, format(E'      /** %s */\n      %s: {\n        Args: %s\n        Returns: %s\n      }',
        substring(obj_description(p.oid, 'pg_proc') FROM '^.*?[.](?=\s|$)'),
        p.proname, coalesce('{ ' || s.taken || ' }', 'Record<PropertyKey, never>'),
        CASE
            WHEN s.given IS NOT NULL THEN '{ ' || s.given || ' }[]'
            WHEN p.proretset THEN w.word || '[]'
            WHEN w.word = 'Json' THEN 'Json'
            WHEN p.prorettype = 'void'::regtype THEN 'undefined'
            ELSE w.word || ' | null'
        END) AS entry
    FROM pg_proc AS p JOIN words AS w ON w.oid = p.prorettype LEFT JOIN shapes AS s ON s.oid = p.oid
    WHERE p.pronamespace = 'hiems'::regnamespace AND p.prokind = 'f'
)
SELECT '// Made by scripts/types from the catalog: do not edit. createClient<Database>(...).schema(''hiems'')
// Numbers are JavaScript''s: a cost to the last digit is read as text, select(''cost_usd::text'').

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  hiems: {
    Tables: {
' || (SELECT string_agg(entry, E'\n' ORDER BY relname) FROM relations WHERE relkind = 'r') || '
    }
    Views: {
' || (SELECT string_agg(entry, E'\n' ORDER BY relname) FROM relations WHERE relkind = 'v') || '
    }
    Functions: {
' || (SELECT string_agg(entry, E'\n' ORDER BY proname) FROM functions) || '
    }
    Enums: {}
    CompositeTypes: {}
  }
}
'
