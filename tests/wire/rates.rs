//! SEK beside USD.
