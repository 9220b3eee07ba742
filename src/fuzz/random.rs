//! Where all choices of a case come from: bytes, if there are any, and then splitmix64. The same seed makes the same case on every machine.

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random {
    bytes: std::vec::IntoIter<u8>,
    state: u64,
}

impl Random {
    /// Choices that a seed determines.
    pub fn new(seed: u64) -> Random {
        Random { bytes: vec![].into_iter(), state: seed }
    }

    /// Choices that bytes determine, one byte each for small numbers: what a coverage-guided fuzzer changes.
    pub fn of_bytes(bytes: &[u8]) -> Random {
        Random { bytes: Vec::from(bytes).into_iter(), state: bytes.len() as u64 }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        let number = match (n, self.bytes.next()) {
            (..=0x100, Some(byte)) => u64::from(byte),
            (_, Some(byte)) => u64::from(byte) << 8 | u64::from(self.bytes.next().unwrap_or(0)),
            (_, None) => self.number(),
        };
        (number % n.max(1) as u64) as usize
    }

    /// A number of an interval, both ends included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as usize) as i64
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of several texts.
    pub fn word(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    /// The number of one of several, each as likely as its weight.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (number, weight) in weights.iter().enumerate() {
            if left < *weight {
                return number;
            }
            left -= weight;
        }
        0
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The seed of the case with this number.
pub fn seed_of_case(seed: u64, number: u64) -> u64 {
    mix(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(mix(number)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_choices_and_run_out() {
        let mut random = Random::of_bytes(&[7, 1, 2]);
        assert_eq!(random.below(10), 7);
        assert_eq!(random.below(1000), 258);
        let (mut a, mut b) = (random.clone(), random);
        assert_eq!(a.below(1000), b.below(1000));
    }

    #[test]
    fn weights_count() {
        let mut random = Random::new(1);
        let mut seen = [0; 3];
        (0..1000).for_each(|_| seen[random.weighted(&[1, 0, 9])] += 1);
        assert!(seen[0] > 50 && seen[1] == 0 && seen[2] > 800, "{seen:?}");
    }
}
