use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::Parser;
use syn::{Error, ItemFn, LitStr};

struct Options {
    timeout: Duration,
    leftovers_fail: bool,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let options = parse(options)?;
    let function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if !signature.inputs.is_empty() || signature.asyncness.is_some() || !signature.generics.params.is_empty()
    {
        return Err(Error::new_spanned(signature, "a test takes nothing and is not async"));
    }
    let (attributes, visibility, name) = (&function.attrs, &function.vis, &signature.ident);
    let (output, block) = (&signature.output, &function.block);
    let body = format_ident!("__watertight_body_of_{name}");
    let leftovers_fail = options.leftovers_fail;
    let (seconds, nanos) = (options.timeout.as_secs(), options.timeout.subsec_nanos());
    Ok(quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() {
            ::watertight::test_init!();
            fn #body() #output #block
            ::watertight::__private::run_test(
                || ::watertight::__private::in_process(#body, #leftovers_fail),
                ::watertight::__private::TestOptions { timeout: ::core::time::Duration::new(#seconds, #nanos) },
            );
        }
    })
}

fn parse(tokens: TokenStream) -> syn::Result<Options> {
    let mut options = Options { timeout: Duration::from_secs(60), leftovers_fail: true };
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("timeout") {
            options.timeout = duration(&meta.value()?.parse()?)?;
            return Ok(());
        }
        if meta.path.is_ident("leftovers") {
            let value: LitStr = meta.value()?.parse()?;
            options.leftovers_fail = match value.value().as_str() {
                "allow" => false,
                "deny" => true,
                _ => return Err(Error::new_spanned(value, "`allow` or `deny`")),
            };
            return Ok(());
        }
        Err(meta.error("the options are `timeout` and `leftovers`"))
    });
    parser.parse2(tokens)?;
    Ok(options)
}

fn duration(text: &LitStr) -> syn::Result<Duration> {
    let value = text.value();
    let wrong = || Error::new_spanned(text, "a time in `ms` or `s`, as `500ms` or `5s`");
    let (number, unit) = value.split_at(value.find(|char: char| !char.is_ascii_digit()).ok_or_else(wrong)?);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(wrong()),
    }
}
