//! Tasks that compute.

use num_bigint::BigUint;
use watertight::RemoteError;

/// The square of a whole number. One that fits in no 64 bits is an error.
#[watertight::task]
fn square(x: i64) -> Result<i64, RemoteError> {
    x.checked_mul(x)
        .ok_or_else(|| RemoteError::new(format_args!("the square of {x} does not fit in 64 bits")))
}

/// The product of the numbers from 1 to n: all its digits, however many they are.
#[watertight::task]
fn factorial(n: u32) -> String {
    product(1, n.into()).to_string()
}

/// The product of the numbers from `low` to `high`. Halves of about the same size make large multiplications
/// few and fast ones; one number after the other would be quadratic.
fn product(low: u64, high: u64) -> BigUint {
    /// So few are multiplied faster one after the other.
    const FEW: u64 = 16;
    if high < low + FEW {
        return (low..=high).product();
    }
    let middle = low.midpoint(high);
    product(low, middle) * product(middle + 1, high)
}

/// The sum of the squares of numbers.
#[watertight::task]
fn sum_squares(numbers: Vec<f64>) -> f64 {
    // Not `sum`: that of nothing is minus zero.
    numbers.iter().fold(0.0, |sum, x| sum + x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_exact_or_an_error_that_names_the_number() {
        assert_eq!(square(-7), Ok(49));
        assert_eq!(square(3_037_000_499), Ok(9_223_372_030_926_249_001));
        let error = square(i64::MIN).unwrap_err();
        assert_eq!(error.to_string(), "the square of -9223372036854775808 does not fit in 64 bits");
        assert!(square(3_037_000_500).is_err());
    }

    #[test]
    fn small_factorials_are_those_of_the_books() {
        assert_eq!(factorial(0), "1");
        assert_eq!(factorial(1), "1");
        assert_eq!(factorial(20), "2432902008176640000");
        assert_eq!(factorial(25), "15511210043330985984000000");
    }

    #[test]
    fn large_factorials_have_all_their_digits() {
        let digits = factorial(1000);
        assert_eq!(digits.len(), 2568);
        assert!(digits.starts_with("402387260077") && digits.ends_with(&"0".repeat(249)));
        assert_eq!(factorial(10_000).len(), 35_660);
    }

    #[test]
    fn a_product_in_halves_is_the_product() {
        for high in 0..100 {
            let one_by_one: BigUint = (1..=high).product();
            assert_eq!(product(1, high), one_by_one, "{high}!");
        }
    }

    #[test]
    fn squares_are_summed() {
        assert_eq!(sum_squares(vec![1.0, 2.0, -3.0, 0.5]), 14.25);
        assert!(sum_squares(Vec::new()).is_sign_positive());
    }
}
