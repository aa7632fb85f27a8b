//! Formats that print JSON.

use std::fmt;

use super::{
    FormatContext, FormatError, Formatter, Operator, Operators, Output,
    output::push_json_string,
    parse::{Part, parse},
};
use crate::config::{Struct, Value};

/// A JSON structure whose texts are format strings (`json_format`), ready to be printed for any number of streams.
///
/// Properties are sorted by name, as in Envoy. A text that is one operator and nothing else keeps the operator's
/// type, and is `null` without a value; any other text is a string.
pub struct JsonFormatter {
    root: Vec<(Box<str>, Template)>,
    omit_empty: bool,
}

/// What a value of the structure becomes.
enum Template {
    /// The same JSON for every stream.
    Constant(Box<str>),
    Operator(Box<dyn Operator>),
    Text(Formatter),
    Object(Vec<(Box<str>, Template)>),
    List(Vec<Template>),
}

impl fmt::Debug for JsonFormatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonFormatter").field("properties", &self.root.len()).finish_non_exhaustive()
    }
}

impl JsonFormatter {
    /// Reads a structure. With `omit_empty_values`, what has no value is left out instead of `null`, and so is an object
    /// of which nothing is left.
    pub fn parse(
        format: &Struct,
        omit_empty_values: bool,
        operators: &Operators,
    ) -> Result<Self, FormatError> {
        let reader = Reader { omit_empty: omit_empty_values, operators };
        Ok(Self { root: reader.object(format, "json_format")?, omit_empty: omit_empty_values })
    }

    /// The JSON object for a stream, in one line without its end.
    pub fn format(&self, context: &FormatContext<'_>) -> String {
        let mut line = String::with_capacity(256);
        self.append(context, &mut line);
        line
    }

    /// Appends the JSON object for a stream.
    pub fn append(&self, context: &FormatContext<'_>, line: &mut String) {
        Printer { context, omit_empty: self.omit_empty, line }.object(&self.root);
    }
}

struct Reader<'a> {
    omit_empty: bool,
    operators: &'a Operators,
}

impl Reader<'_> {
    fn object(&self, values: &Struct, path: &str) -> Result<Vec<(Box<str>, Template)>, FormatError> {
        let property = |(key, value): (&String, &Value)| {
            let template = self.template(value, &format!("{path}.{key}"))?;
            Ok((key.as_str().into(), template))
        };
        values.iter().map(property).collect()
    }

    fn template(&self, value: &Value, path: &str) -> Result<Template, FormatError> {
        Ok(match value {
            Value::String(text) => self.text(text).map_err(|source| match source {
                nested @ FormatError::Json { .. } => nested,
                source => FormatError::Json { path: path.to_owned(), source: Box::new(source) },
            })?,
            Value::Struct(values) => Template::Object(self.object(values, path)?),
            Value::List(values) => {
                let element = |(index, value)| self.template(value, &format!("{path}[{index}]"));
                Template::List(values.iter().enumerate().map(element).collect::<Result<_, _>>()?)
            }
            constant => Template::Constant(constant.to_json().into()),
        })
    }

    fn text(&self, text: &str) -> Result<Template, FormatError> {
        let mut parts = parse(text, self.operators)?;
        Ok(match parts.pop() {
            Some(Part::Operator(operator)) if parts.is_empty() => Template::Operator(operator),
            Some(Part::Literal(text)) if parts.is_empty() => Template::Constant(json_string(&text)),
            None => Template::Constant(json_string("")),
            Some(last) => {
                parts.push(last);
                Template::Text(Formatter::from_parts(parts).omit_empty_values(self.omit_empty))
            }
        })
    }
}

fn json_string(text: &str) -> Box<str> {
    let mut json = String::new();
    push_json_string(&mut json, text);
    json.into()
}

struct Printer<'a> {
    context: &'a FormatContext<'a>,
    omit_empty: bool,
    line: &'a mut String,
}

impl Printer<'_> {
    /// Prints an object; says whether it has properties.
    fn object(&mut self, properties: &[(Box<str>, Template)]) -> bool {
        let mut any = false;
        self.line.push('{');
        for (name, template) in properties {
            let before = self.line.len();
            if any {
                self.line.push(',');
            }
            push_json_string(self.line, name);
            self.line.push(':');
            if self.value(template) {
                any = true;
            } else {
                self.line.truncate(before);
            }
        }
        self.line.push('}');
        any
    }

    fn list(&mut self, elements: &[Template]) {
        let mut any = false;
        self.line.push('[');
        for template in elements {
            let before = self.line.len();
            if any {
                self.line.push(',');
            }
            if self.value(template) {
                any = true;
            } else {
                self.line.truncate(before);
            }
        }
        self.line.push(']');
    }

    /// Prints a value; `false` says that it is empty and has to be left out again.
    fn value(&mut self, template: &Template) -> bool {
        match template {
            Template::Constant(json) => {
                self.line.push_str(json);
                !(self.omit_empty && json.as_ref() == "null")
            }
            Template::Operator(operator) => {
                let mut out = Output::json_form(self.line);
                operator.print(self.context, &mut out);
                let printed = out.printed();
                if !printed {
                    self.line.push_str("null");
                }
                printed || !self.omit_empty
            }
            Template::Text(format) => {
                push_json_string(self.line, &format.format(self.context));
                true
            }
            Template::Object(properties) => self.object(properties) || !self.omit_empty,
            Template::List(elements) => {
                self.list(elements);
                true
            }
        }
    }
}
