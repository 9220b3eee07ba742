//! An estimate of how many distinct hashes there are: HyperLogLog (Flajolet et al. 2007), with linear counting where they are few.

/// Bits of a hash that pick a register. The error is about 1.04 / sqrt(registers): 1.6 %.
const BITS: u32 = 12;
const REGISTERS: usize = 1 << BITS;

/// The registers.
#[derive(Debug)]
pub(crate) struct Sketch([u8; REGISTERS]);

impl Default for Sketch {
    fn default() -> Self {
        Sketch([0; REGISTERS])
    }
}

impl Sketch {
    /// Adds a hash.
    pub(crate) fn add(&mut self, hash: u64) {
        // Hashes of tables are good in their high half and their low bits, not in all of them: they are mixed once more.
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let register = &mut self.0[(hash >> (64 - BITS)) as usize];
        let rank = (hash << BITS | 1 << (BITS - 1)).leading_zeros() as u8 + 1;
        *register = (*register).max(rank);
    }

    /// How many distinct hashes there were, about.
    pub(crate) fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| f64::from(*rank).exp2().recip()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        if raw <= 2.5 * registers && empty > 0 { registers * (registers / empty as f64).ln() } else { raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::number::hash_of;
    use stagefuse_ir::abi::HASH_ALL;

    #[test]
    fn estimates_are_near() {
        for distinct in [1_i64, 100, 5_000, 20_000, 300_000] {
            let mut sketch = Sketch::default();
            for key in (0..distinct).chain(0..distinct / 2) {
                sketch.add(hash_of(Some(key * 3), HASH_ALL));
            }
            let error = (sketch.estimate() / distinct as f64 - 1.0).abs();
            assert!(error < 0.08, "{distinct}: {}", sketch.estimate());
        }
        assert_eq!(Sketch::default().estimate(), 0.0);
    }
}
