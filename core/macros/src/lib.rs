//! The `extension` attribute of `underpass-core`.
