//! What is written between the parentheses of `#[extension(…)]`.

use syn::{
    Error, ExprArray, Ident, LitStr, Token,
    ext::IdentExt as _,
    parse::{Parse, ParseStream},
    parse_quote,
};

pub(crate) struct Arguments {
    pub(crate) name: LitStr,
    /// The message names; the first is canonical.
    pub(crate) type_names: Vec<LitStr>,
    pub(crate) doc: Option<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (mut name, mut type_url, mut aliases, mut doc) = (None, None, Vec::new(), None);
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "name" => set_once(&mut name, &key, input.parse()?)?,
                "type_url" => set_once(&mut type_url, &key, type_name(&input.parse()?)?)?,
                "aliases" => aliases = parse_aliases(&input.parse()?)?,
                "doc" => set_once(&mut doc, &key, input.parse()?)?,
                _ => return Err(Error::new(key.span(), "expected `name`, `type_url`, `aliases` or `doc`")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let name =
            name.ok_or_else(|| input.error(r#"`name = "…"` is missing: the extension's name, as in Envoy"#))?;
        let canonical = type_url.ok_or_else(|| {
            input.error(r#"`type_url = "type.googleapis.com/…"` is missing: the type of the extension's config message"#)
        })?;
        let type_names = std::iter::once(canonical).chain(aliases).collect();
        Ok(Self { name, type_names, doc })
    }
}

fn set_once(slot: &mut Option<LitStr>, key: &Ident, value: LitStr) -> syn::Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

fn parse_aliases(array: &ExprArray) -> syn::Result<Vec<LitStr>> {
    array
        .elems
        .iter()
        .map(|element| {
            let literal: LitStr = parse_quote!(#element);
            type_name(&literal)
        })
        .collect()
}

/// What follows the last `/` of a type URL.
fn type_name(url: &LitStr) -> syn::Result<LitStr> {
    let text = url.value();
    match text.rsplit_once('/') {
        Some((authority, name)) if !authority.is_empty() && name.contains('.') => {
            Ok(LitStr::new(name, url.span()))
        }
        _ => Err(Error::new(url.span(), "a type URL has the form `type.googleapis.com/package.v1.Message`")),
    }
}
