//! The hash that Envoy calls `MURMUR_HASH_2`: that of 64-bit machines, with the seed of GNU's C++ library.
//!
//! The algorithm is Austin Appleby's `MurmurHash64A`, which is in the public domain.

/// The seed that `std::hash<std::string>` of libstdc++ uses, and Envoy with it.
const SEED: u64 = 0xc70f_6907;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
const SHIFT: u32 = 47;

/// Hashes bytes.
pub(crate) fn murmur_hash_2(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut mixed = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed = (mixed ^ (mixed >> SHIFT)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mixed).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> SHIFT)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What std::hash<std::string> of libstdc++ gives on a 64-bit machine.
    #[test]
    fn hashes_are_those_of_the_cpp_library() {
        assert_eq!(murmur_hash_2(b""), 6_142_509_188_972_423_790);
        assert_eq!(murmur_hash_2(b"a"), 4_993_892_634_952_068_459);
        assert_eq!(murmur_hash_2(b"eightbyt"), 7_515_445_910_781_282_986);
        assert_eq!(murmur_hash_2(b"eightbyt9"), 17_945_121_944_800_323_862);
        assert_eq!(murmur_hash_2(b"nineteen characters"), 2_336_016_992_144_207_594);
        assert_eq!(murmur_hash_2(b"127.0.0.1:1_0"), 5_652_476_137_409_510_948);
    }
}
