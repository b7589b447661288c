//! The smallest task there is.

/// Greets somebody by name.
#[watertight::task]
fn greet(name: String) -> String {
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_greeted() {
        assert_eq!(greet("Ada".to_owned()), "Hello, Ada!");
    }
}
