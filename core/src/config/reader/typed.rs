//! The way from an `@type` to a typed config: the only place where one becomes the other.

use std::{any::Any, sync::Arc};

use serde::de::{DeserializeOwned, Error as _};

use super::{error::Error, message::FieldAccess, node::NodeDeserializer, path::Path};
use crate::{
    config::{Location, Node, NodeValue, known, typed::type_name},
    extension::Fields,
};

/// Messages that carry another typed config as a type URL and a `Struct`, for types whose descriptor a control plane
/// lacks.
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

impl NodeDeserializer<'_> {
    /// Resolves the typed config here among the extensions of `category` and reads it.
    pub(super) fn typed(&self, category: &'static str) -> Result<(), Error> {
        let (url, location) = self.type_url("@type")?;
        if !TYPED_STRUCTS.contains(&type_name(url)) {
            return self.resolved(category, (url, location));
        }
        let wrapper = NodeDeserializer { path: Path::Typed(&self.path, type_name(url)), ..*self };
        let fields = FieldAccess::new(wrapper, self.entries(), &["type_url", "value"]);
        let inner_url = if self.node.get("typeUrl").is_some() { "typeUrl" } else { "type_url" };
        let empty = Arc::new(Node { value: NodeValue::Map(Vec::new()), ..Node::clone(self.node) });
        let node = fields.get("value").unwrap_or(&empty);
        let inner_url = self.type_url(inner_url)?;
        self.child(node, Path::Field(&self.path, "value"), |inner| inner.resolved(category, inner_url))
    }

    /// The same, but one of a type that no extension of the category has is handed over unread; so is an empty message.
    pub(super) fn optional_typed(&self, category: &'static str) -> Result<(), Error> {
        if matches!(&self.node.value, NodeValue::Map(entries) if entries.is_empty()) {
            self.hand_over("", None);
            return Ok(());
        }
        let (url, _) = self.type_url("@type")?;
        let name = type_name(url);
        let linked = self.pass.reader.extensions.find(category, name).is_ok();
        // Envoy, too, refuses what is no message of its API.
        if linked || TYPED_STRUCTS.contains(&name) || known::message(name).is_none() {
            return self.typed(category);
        }
        self.hand_over(name, None);
        Ok(())
    }

    /// Hands over a typed config that is only kept. Envoy refuses any type that it does not have, wherever it stands.
    pub(super) fn kept(&self) -> Result<(), Error> {
        let (url, location) = self.type_url("@type")?;
        let name = type_name(url);
        if known::message(name).is_none() && !self.pass.reader.extensions.has_type(name) {
            let message =
                format!("unknown type `{name}`: neither Envoy's API nor an extension that is linked has it");
            self.pass.error(self.path, location, message);
        }
        self.hand_over(name, None);
        Ok(())
    }

    /// The type URL under `key`, and where it stands.
    fn type_url(&self, key: &str) -> Result<(&str, Location), Error> {
        if !matches!(self.node.value, NodeValue::Map(_)) {
            return Err(Error::custom(format_args!(
                "expected a typed config, a map with `@type`, not {}",
                self.node.describe()
            )));
        }
        match self.node.get(key).and_then(|node| Some((node.as_text()?, node.location()))) {
            Some((url, location)) if !type_name(url).is_empty() => Ok((url, location)),
            _ => Err(Error::custom(format_args!("`{key}` is missing: it names the type of this config"))),
        }
    }

    fn resolved(&self, category: &'static str, (url, location): (&str, Location)) -> Result<(), Error> {
        let registration = self.pass.reader.extensions.find(category, type_name(url)).map_err(|unknown| {
            self.pass.error(self.path, location, unknown.to_string());
            Error::Message(String::new())
        })?;
        let canonical = registration.type_names[0];
        if let Fields::Unreadable(why) = (registration.fields)() {
            return Err(Error::custom(format_args!("the config type of {} {why}", registration.name)));
        }
        let path = Path::Typed(&self.path, canonical);
        let config = (registration.read)(TypedNode(NodeDeserializer { path, ..*self }));
        self.hand_over(canonical, Some(config.map_err(|Refused(error)| error)?));
        Ok(())
    }
}

/// The place of a typed config whose type was found.
#[expect(missing_debug_implementations, reason = "it lives no longer than a call")]
pub struct TypedNode<'r>(NodeDeserializer<'r>);

/// The config could not be read; the report says why.
#[derive(Debug)]
pub struct Refused(Error);

impl TypedNode<'_> {
    /// Reads the config as the extension's type `T`.
    ///
    /// This is the one place where an extension's type meets a deserializer, and it is always the same: what is
    /// compiled for each config type is the bulk of what an extension adds to a binary.
    ///
    /// # Errors
    /// It could not be read; the reader's report has the reasons.
    pub fn read<T: DeserializeOwned + 'static>(self) -> Result<Box<dyn Any>, Refused> {
        let config = T::deserialize(self.0).map_err(Refused)?;
        Ok(Box::new(config))
    }
}
