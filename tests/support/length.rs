//! How much a random test does.

/// `short` in `make test`, which takes seconds; `long` in `make test-long`, which takes minutes.
pub fn how_many(short: usize, long: usize) -> usize {
    if std::env::var_os("HIEMS_TEST_LONG").is_some() { long } else { short }
}
