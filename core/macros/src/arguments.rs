//! What is written between the parentheses of `#[extension(…)]`.

use syn::{
    Error, Expr, ExprArray, ExprLit, Ident, Lit, LitStr, Token,
    ext::IdentExt as _,
    parse::{Parse, ParseStream},
};

/// The arguments of the attribute.
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
        // The whole attribute is marked, since nothing in it is wrong by itself.
        let missing = |message: &str| Error::new(proc_macro2::Span::call_site(), message);
        let name =
            name.ok_or_else(|| missing(r#"`name = "…"` is missing: the extension's name, as in Envoy"#))?;
        let canonical = type_url.ok_or_else(|| {
            missing(r#"`type_url = "type.googleapis.com/…"` is missing: the type of the extension's config message"#)
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
    let alias = |element: &Expr| match element {
        Expr::Lit(ExprLit { lit: Lit::Str(url), .. }) => type_name(url),
        other => Err(Error::new_spanned(other, "an alias is a type URL in quotes")),
    };
    array.elems.iter().map(alias).collect()
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
