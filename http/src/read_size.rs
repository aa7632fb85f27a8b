//! How much is read at once: it follows the traffic.

/// How much is read at once, at first and at most: Envoy reads as much where the buffer limit allows it.
pub(crate) const READ_SIZES: (usize, usize) = (8 * 1024, 256 * 1024);

/// How much to read after a read of `n` bytes into `room`: twice as much once it was full, less when it stayed almost empty.
pub(crate) fn next_read_size(size: usize, n: usize, room: usize, limit: usize) -> usize {
    if n == room {
        (size * 2).min(READ_SIZES.1).min(limit.max(READ_SIZES.0))
    } else if n < size / 16 {
        (size / 4).max(READ_SIZES.0)
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grow_with_the_traffic_and_within_the_limit() {
        let sizes = |limit| {
            let mut sizes = vec![READ_SIZES.0];
            while let Some(&size) = sizes.last()
                && next_read_size(size, size, size, limit) != size
            {
                sizes.push(next_read_size(size, size, size, limit));
            }
            sizes.into_iter().map(|size| size / 1024).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1024 * 1024), [8, 16, 32, 64, 128, 256]);
        assert_eq!(sizes(50 * 1024), [8, 16, 32, 50]);
        assert_eq!(sizes(1), [8]);
        assert_eq!(next_read_size(256 * 1024, 100, 256 * 1024, 1024 * 1024), 64 * 1024);
        assert_eq!(next_read_size(64 * 1024, 10_000, 64 * 1024, 1024 * 1024), 64 * 1024);
    }
}
