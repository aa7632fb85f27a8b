//! The reference binary of Underpass.
fn main() {}
