//! Fields that hold the config of an extension: `typed_config`, whose `@type` says what it is.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, de::Visitor};

use super::{
    ConfigPath, Node,
    reader::handoff::{self, Handoff},
    typetag,
};
use crate::{
    build_context::BuildError,
    extension::{Category, ExtensionSet},
};

/// The message name in a type URL: what follows the last `/`. The part before it differs between control planes.
pub(crate) fn type_name(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

/// The config of an extension of category `C`, such as `TypedConfig<dyn NetworkFilterConfig>`.
///
/// The `@type` is resolved among the reader's extensions while the file is read, so all that is wrong in it is part of
/// the same report. It dereferences to the config.
pub struct TypedConfig<C: ?Sized> {
    config: Arc<C>,
    origin: RawTypedConfig,
}

impl<C: ?Sized> TypedConfig<C> {
    /// A config that comes from no file, for tests and for defaults.
    pub fn from_config(config: Arc<C>, type_url: &str) -> Self {
        Self { config, origin: RawTypedConfig::synthetic(type_url) }
    }

    /// The config.
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    /// The message name, such as `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
    pub fn type_name(&self) -> &str {
        self.origin.type_name()
    }

    /// The type URL in its usual form, `type.googleapis.com/` and the message name.
    pub fn type_url(&self) -> String {
        self.origin.type_url()
    }

    /// Where the fields of the config stand.
    pub fn path(&self) -> &ConfigPath {
        self.origin.path()
    }

    /// The fields as they were written.
    pub fn node(&self) -> &Arc<Node> {
        self.origin.node()
    }
}

impl<C: ?Sized> Deref for TypedConfig<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.config
    }
}

impl<C: ?Sized> Clone for TypedConfig<C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), origin: self.origin.clone() }
    }
}

impl<C: ?Sized + fmt::Debug> fmt::Debug for TypedConfig<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedConfig").field(&self.type_name()).field(&&*self.config).finish()
    }
}

/// The reader recognises this "field list"; it says which category is expected.
struct Expected<C: ?Sized>(PhantomData<C>);

impl<C: ?Sized + Category> Expected<C> {
    const CATEGORY: &'static [&'static str] = &[C::NAME];
}

/// Takes what the reader resolved.
struct Resolved<C: ?Sized>(PhantomData<C>);

impl<'de, C: ?Sized + Category> Visitor<'de> for Resolved<C>
where
    Box<C>: Deserialize<'de>,
{
    type Value = OptionalTypedConfig<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the typed config of a {}", C::NAME)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<OptionalTypedConfig<C>, E> {
        let mut handoff = handoff::take()?;
        let config = handoff.config.take();
        let origin = RawTypedConfig::from_handoff(handoff);
        let Some(config) = config else { return Ok(OptionalTypedConfig::Unknown(origin)) };
        let config = typetag::to_category(origin.type_name(), config).map_err(E::custom)?;
        Ok(OptionalTypedConfig::Known(TypedConfig { config: Arc::from(config), origin }))
    }
}

impl<'de, C: ?Sized + Category> Deserialize<'de> for TypedConfig<C>
where
    Box<C>: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_struct(
            handoff::TYPED,
            Expected::<C>::CATEGORY,
            Resolved(PhantomData),
        )? {
            OptionalTypedConfig::Known(config) => Ok(config),
            OptionalTypedConfig::Unknown(_) => Err(handoff::no_reader()),
        }
    }
}

/// The config of an extension that may be of a type that is not linked, where whoever reads it can say that this is fine
/// (`is_optional`).
pub enum OptionalTypedConfig<C: ?Sized> {
    /// It was read.
    Known(TypedConfig<C>),
    /// No extension of the category has the type; of an empty message (`{}`), not even that is known.
    Unknown(RawTypedConfig),
}

impl<C: ?Sized + Category> OptionalTypedConfig<C> {
    /// Where it stands.
    pub fn path(&self) -> &ConfigPath {
        match self {
            Self::Known(config) => config.path(),
            Self::Unknown(raw) => raw.path(),
        }
    }

    /// The config.
    ///
    /// # Errors
    /// What there is to say of its type, if no extension has it.
    pub fn required(&self, extensions: &ExtensionSet) -> Result<&TypedConfig<C>, BuildError> {
        match self {
            Self::Known(config) => Ok(config),
            Self::Unknown(raw) => {
                let message = match extensions.find(C::NAME, raw.type_name()) {
                    _ if raw.type_name().is_empty() => {
                        "`@type` is missing: it names the type of this config".to_owned()
                    }
                    Err(unknown) => unknown.to_string(),
                    Ok(found) => format!("{} is linked, but was not when this was read", found.name),
                };
                Err(BuildError::at(raw.path().clone(), message))
            }
        }
    }
}

impl<C: ?Sized> Clone for OptionalTypedConfig<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Known(config) => Self::Known(config.clone()),
            Self::Unknown(raw) => Self::Unknown(raw.clone()),
        }
    }
}

impl<C: ?Sized + fmt::Debug> fmt::Debug for OptionalTypedConfig<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(config) => config.fmt(f),
            Self::Unknown(raw) => f.debug_tuple("Unknown").field(&raw.type_name()).finish(),
        }
    }
}

impl<'de, C: ?Sized + Category> Deserialize<'de> for OptionalTypedConfig<C>
where
    Box<C>: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(
            handoff::OPTIONAL_TYPED,
            Expected::<C>::CATEGORY,
            Resolved(PhantomData),
        )
    }
}

/// The pair of `name` and `typed_config` by which Envoy embeds extensions. The name is free text, as in Envoy.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "C: Category, Box<C>: Deserialize<'de>"))]
pub struct ExtensionConfig<C: ?Sized> {
    /// What the user calls it.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: TypedConfig<C>,
}

impl<C: ?Sized> Clone for ExtensionConfig<C> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), typed_config: self.typed_config.clone() }
    }
}

/// A typed config that is only kept, not read: a `google.protobuf.Any` as the tree that was written.
///
/// To read it later: `reader.read::<TypedConfig<C>>(raw.node(), raw.path().clone(), "google.protobuf.Any")`.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTypedConfig {
    node: Arc<Node>,
    path: ConfigPath,
    type_name: Arc<str>,
}

impl RawTypedConfig {
    /// The message name, such as `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The type URL in its usual form, `type.googleapis.com/` and the message name.
    pub fn type_url(&self) -> String {
        format!("type.googleapis.com/{}", self.type_name)
    }

    /// Where it stands.
    pub fn path(&self) -> &ConfigPath {
        &self.path
    }

    /// The tree as it was written.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn from_handoff(handoff: Handoff) -> Self {
        Self { node: handoff.node, path: handoff.path, type_name: handoff.type_name }
    }

    fn synthetic(type_url: &str) -> Self {
        Self {
            node: Arc::new(Node::empty_map()),
            path: ConfigPath::root(),
            type_name: type_name(type_url).into(),
        }
    }
}

impl<'de> Deserialize<'de> for RawTypedConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        handoff::request(deserializer, handoff::ANY).map(Self::from_handoff)
    }
}
