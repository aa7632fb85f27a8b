//! The engine of Underpass.
