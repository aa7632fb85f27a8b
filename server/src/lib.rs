//! The engine of Underpass.

pub mod socket_option;
