//! From the text of an input to the JSON array of a task's arguments.

use serde_json::value::RawValue;

use crate::task::registry::{Parameter, TaskDescription};

/// What a task takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: inputs only count.
    Nothing,
    /// One string or path.
    Text,
    /// One value of another type.
    Value,
    /// So many values.
    List(usize),
}

impl Shape {
    pub(super) fn of(task: &TaskDescription) -> Shape {
        match task.parameters.as_slice() {
            [] => Shape::Nothing,
            [Parameter { is_text: true, .. }] => Shape::Text,
            [_] => Shape::Value,
            many => Shape::List(many.len()),
        }
    }

    /// The arguments that an input means.
    ///
    /// # Errors
    /// Why it means none, for people.
    pub(super) fn arguments(self, input: &[u8]) -> Result<Vec<u8>, String> {
        let text = std::str::from_utf8(input).map_err(|_| "the input is not UTF-8".to_owned())?;
        match self {
            Shape::Nothing => Ok(b"[]".to_vec()),
            Shape::Text => Ok(array(&quoted(text))),
            Shape::Value => match serde_json::from_str::<&RawValue>(text) {
                Ok(value) => Ok(array(value.get())),
                Err(_) => Ok(array(&quoted(text))),
            },
            Shape::List(count) => list(text, count),
        }
    }
}

fn array(element: &str) -> Vec<u8> {
    [b"[", element.as_bytes(), b"]"].concat()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(text: &str, count: usize) -> Result<Vec<u8>, String> {
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(elements) if elements.len() == count => Ok(text.as_bytes().to_vec()),
        Ok(elements) => {
            Err(format!("the task takes {count} arguments, and the input has {}", elements.len()))
        }
        Err(error) => {
            Err(format!("the task takes {count} arguments, and the input is no JSON array: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(parameters: Vec<Parameter>) -> TaskDescription {
        TaskDescription { name: "t".into(), doc: String::new(), parameters, result: "()".into() }
    }

    fn arguments(shape: Shape, input: &str) -> String {
        String::from_utf8(shape.arguments(input.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_parameters_tell_the_shape() {
        let (text, number) = (Parameter::of::<String>("s"), Parameter::of::<i64>("n"));
        assert_eq!(Shape::of(&task(vec![])), Shape::Nothing);
        assert_eq!(Shape::of(&task(vec![text.clone()])), Shape::Text);
        assert_eq!(Shape::of(&task(vec![number.clone()])), Shape::Value);
        assert_eq!(Shape::of(&task(vec![text, number])), Shape::List(2));
    }

    #[test]
    fn a_text_parameter_takes_the_text_as_it_is() {
        assert_eq!(arguments(Shape::Text, "3"), r#"["3"]"#);
        assert_eq!(arguments(Shape::Text, r#"a"b\"#), r#"["a\"b\\"]"#);
        assert_eq!(arguments(Shape::Text, ""), r#"[""]"#);
    }

    #[test]
    fn any_other_parameter_takes_json_and_what_is_none_is_a_string() {
        assert_eq!(arguments(Shape::Value, " 3 "), "[3]");
        assert_eq!(arguments(Shape::Value, r#"{"a": [1]}"#), r#"[{"a": [1]}]"#);
        assert_eq!(arguments(Shape::Value, "segv"), r#"["segv"]"#);
        assert_eq!(arguments(Shape::Value, "3, 4"), r#"["3, 4"]"#);
        assert_eq!(arguments(Shape::Value, ""), r#"[""]"#);
    }

    #[test]
    fn several_parameters_take_an_array_of_as_many() {
        assert_eq!(arguments(Shape::List(2), r#"["a", 2]"#), r#"["a", 2]"#);
        assert!(Shape::List(2).arguments(b"[1]").unwrap_err().contains("has 1"));
        assert!(Shape::List(2).arguments(b"1").is_err());
    }

    #[test]
    fn what_is_not_utf8_is_no_input() {
        for shape in [Shape::Nothing, Shape::Text, Shape::Value, Shape::List(2)] {
            assert_eq!(shape.arguments(b"\xff").unwrap_err(), "the input is not UTF-8");
        }
    }
}
