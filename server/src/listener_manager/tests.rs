//! Listeners from YAML to bytes on sockets. The filters are toys; each part of a test stands in a file of its own.

mod connections;
mod harness;
mod toys;
