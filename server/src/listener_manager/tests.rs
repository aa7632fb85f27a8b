//! Listeners from YAML to bytes on sockets. The filters are toys.

mod connections;
mod errors;
mod harness;
mod internal;
mod limits;
mod matching;
mod threads;
mod toys;
mod updates;
