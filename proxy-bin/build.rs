//! Packs the binary's relocations, where both the linker and the C library know how.
//!
//! A position-independent executable names each place that holds an address, in 24 bytes a place; packed, all of them take some
//! 10 KB instead of 370, which the start otherwise reads and an idle process keeps in memory.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("HOST") == env::var("TARGET") && dynamic_linker_unpacks() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this machine has glibc 2.36 or later, the first that reads them. A linker that does not know the option passes it over
/// with a warning.
fn dynamic_linker_unpacks() -> bool {
    let version = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = version.ok().and_then(|it| String::from_utf8(it.stdout).ok());
    let minor = version.as_deref().and_then(|it| it.trim().strip_prefix("glibc 2.")?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= 36)
}
