//! Floats: what DataFusion's functions do with them, to the last bit.

use stagefuse_ir::abi::ErrorCode;

/// Negative zero becomes zero.
pub(super) fn trunc(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.trunc() }
}

pub(super) fn round(value: f64, digits: i64) -> f64 {
    let factor = 10_f64.powi(digits as i32);
    (value * factor).round() / factor
}

pub(super) fn signum(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

pub(super) fn power(base: f64, exponent: f64) -> Result<f64, ErrorCode> {
    if base == 0.0 && exponent < 0.0 { Err(ErrorCode::Function) } else { Ok(base.powf(exponent)) }
}
