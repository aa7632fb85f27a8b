//! How much memory the process uses, as the kernel counts it.

use serde_json::{Value, json};

/// Bytes, from `/proc/self/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Anonymous memory in use: the heap and stacks.
    pub allocated: u64,
    /// The data segment as it is mapped.
    pub heap_size: u64,
    /// Resident memory, files included.
    pub physical: u64,
}

/// What the process uses now; zeros where the kernel does not tell.
pub fn usage() -> MemoryUsage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse(&status)
}

fn parse(status: &str) -> MemoryUsage {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    MemoryUsage {
        allocated: field("RssAnon").unwrap_or(0),
        heap_size: field("VmData").unwrap_or(0),
        physical: field("VmRSS").unwrap_or(0),
    }
}

impl MemoryUsage {
    /// The shape of `/memory`; numbers are texts, as proto3 JSON writes 64-bit integers.
    pub fn to_json(self) -> Value {
        json!({
            "allocated": self.allocated.to_string(),
            "heap_size": self.heap_size.to_string(),
            "pageheap_unmapped": "0",
            "pageheap_free": "0",
            "total_thread_cache": "0",
            "total_physical_bytes": self.physical.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nVmData:\t 4096 kB\n";
        let expected = MemoryUsage { allocated: 1 << 20, heap_size: 4 << 20, physical: 2 << 20 };
        assert_eq!(parse(status), expected);
        assert_eq!(parse(""), MemoryUsage::default());
    }
}
