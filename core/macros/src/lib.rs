//! The `extension` attribute of `underpass-core`; use it as `underpass_core::extension`.

mod arguments;
mod expand;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Registers a config type as an extension. It stands on the implementation of a category's trait:
///
/// ```text
/// /// Sends back what it receives.
/// #[extension(
///     name = "envoy.filters.network.echo",
///     type_url = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo",
/// )]
/// impl NetworkFilterConfig for Echo { … }
/// ```
///
/// - `name`: the extension's name in Envoy, or one under a domain of yours.
/// - `type_url`: the type URL of its config message. Only what follows the last `/` counts.
/// - `aliases = ["…"]`, optional: further type URLs, such as those of older API versions.
/// - `doc = "…"`, optional: what it does, in one line; by default the first line of the doc comment on the `impl`.
#[proc_macro_attribute]
pub fn extension(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    expand::expand(&arguments, item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
