-- SEK per unit of a currency, by day. Written by src/rates.rs only.
CREATE TABLE hiems_private.exchange_rates (
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    rate_date    date NOT NULL,
    sek_per_unit numeric NOT NULL CHECK (sek_per_unit > 0 AND sek_per_unit < 'Infinity'),
    source       text NOT NULL CHECK (source <> ''),
    stored_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (currency, rate_date)
);
ALTER TABLE hiems_private.exchange_rates ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.exchange_rates', '');
