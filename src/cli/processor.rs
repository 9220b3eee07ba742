//! Whether the processor has what this build was made for.
//!
//! Builds of this repository are for x86-64-v3 (`.cargo/config.toml`). On a processor without it, the system would end the process with no word but "illegal instruction".

/// What is missing, to be said before anything else is done; none where all is there.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
pub(super) fn missing() -> Option<&'static str> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // `is_x86_feature_detected` takes for granted what the build was made for.
    const FMA_MOVBE_AVX: u32 = 1 << 12 | 1 << 22 | 1 << 28;
    const BMI1_AVX2_BMI2: u32 = 1 << 3 | 1 << 5 | 1 << 8;
    const LZCNT: u32 = 1 << 5;
    let has = __cpuid(0).eax >= 7
        && __cpuid(1).ecx & FMA_MOVBE_AVX == FMA_MOVBE_AVX
        && __cpuid_count(7, 0).ebx & BMI1_AVX2_BMI2 == BMI1_AVX2_BMI2
        && __cpuid(0x8000_0001).ecx & LZCNT == LZCNT;
    (!has).then_some(
        "this build is for x86-64-v3 (AVX2, BMI2, FMA), which the processor is not; build it with RUSTFLAGS=\"-C target-cpu=native\"",
    )
}

/// Nothing is asked of the processor.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
pub(super) fn missing() -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn whoever_runs_tests_has_it() {
        assert_eq!(super::missing(), None);
    }
}
