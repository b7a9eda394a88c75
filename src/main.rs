//! The `guichet` program: hands over to [`guichet::cli`] and decides nothing itself.

fn main() {}
