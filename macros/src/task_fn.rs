use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{
    Attribute, Block, Error, Expr, ExprLit, FnArg, Ident, Lit, LitStr, Pat, ReturnType, Signature, Token,
    Type, Visibility,
};

/// A function that may lack its body.
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: Option<Block>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Function> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        let body = match input.peek(Token![;]) {
            true => input.parse::<Token![;]>().map(|_| None)?,
            false => Some(input.parse()?),
        };
        Ok(Function { attributes, visibility, signature, body })
    }
}

/// The most arguments that a task takes.
const MOST: usize = 6;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let function: Function = syn::parse2(item)?;
    let name = parse_name(options)?;
    let signature = &function.signature;
    check(signature)?;
    let parameters = parameters(signature)?;
    let entry = entry(&function, name, &parameters);
    let Function { attributes, visibility, signature, body } = &function;
    let body = match body {
        Some(body) => quote!(#body),
        None => {
            let text =
                format!("`{}` is only declared here; pass it to a pool whose worker has it", signature.ident);
            let unused = parameters.iter().map(|(name, _)| name);
            quote!({ #(let _ = #unused;)* ::core::panic!(#text) })
        }
    };
    Ok(quote! {
        #(#attributes)*
        #visibility #signature #body
        #entry
    })
}

fn parse_name(options: TokenStream) -> syn::Result<Option<LitStr>> {
    let mut name = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("name") {
            return Err(meta.error("the only option is `name`"));
        }
        name = Some(meta.value()?.parse()?);
        Ok(())
    });
    parser.parse2(options)?;
    Ok(name)
}

fn check(signature: &Signature) -> syn::Result<()> {
    let refuse =
        |tokens: &dyn quote::ToTokens, text: &str| Err(Error::new_spanned(tokens.to_token_stream(), text));
    if let Some(asyncness) = &signature.asyncness {
        return refuse(asyncness, "a task is not async; start a runtime inside it");
    }
    if let Some(unsafety) = &signature.unsafety {
        return refuse(unsafety, "a task is called by anybody, so it cannot be unsafe");
    }
    if !signature.generics.params.is_empty() {
        return refuse(&signature.generics, "a task has one set of types: no generics");
    }
    if signature.inputs.len() > MOST {
        return refuse(&signature.inputs, "a task takes at most six arguments; put more into a struct");
    }
    Ok(())
}

fn parameters(signature: &Signature) -> syn::Result<Vec<(Ident, Type)>> {
    let parameter = |input: &FnArg| match input {
        FnArg::Receiver(receiver) => Err(Error::new_spanned(receiver, "a task is a function, not a method")),
        FnArg::Typed(typed) => match (&*typed.pat, &*typed.ty) {
            (_, Type::Reference(reference)) => {
                Err(Error::new_spanned(reference, "arguments come from another process, so a task owns them"))
            }
            (Pat::Ident(pattern), ty) => Ok((pattern.ident.clone(), ty.clone())),
            (pattern, _) => Err(Error::new_spanned(pattern, "a parameter of a task needs a name")),
        },
    };
    signature.inputs.iter().map(parameter).collect()
}

fn entry(function: &Function, name: Option<LitStr>, parameters: &[(Ident, Type)]) -> TokenStream {
    let identifier = &function.signature.ident;
    let place = format_ident!("__WATERTIGHT_TASK_{}", identifier.to_string().to_uppercase());
    let name = match name {
        Some(name) => quote!(#name),
        None => {
            let last = identifier.to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #last))
        }
    };
    let doc = first_paragraph(&function.attributes);
    let names = parameters.iter().map(|(name, _)| name.to_string());
    let types: Vec<&Type> = parameters.iter().map(|(_, ty)| ty).collect();
    let result = match &function.signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let code = match function.body {
        None => quote!(::core::option::Option::None),
        Some(_) => code(identifier, parameters, &types),
    };
    quote! {
        #[::watertight::__private::linkme::distributed_slice(::watertight::__private::TASKS)]
        #[linkme(crate = ::watertight::__private::linkme)]
        #[doc(hidden)]
        static #place: ::watertight::__private::Entry = ::watertight::__private::Entry {
            name: #name,
            doc: #doc,
            parameters: || ::std::vec![#(::watertight::__private::Parameter::of::<#types>(#names)),*],
            result: || ::core::any::type_name::<#result>(),
            function: || ::watertight::__private::function_type(&#identifier),
            code: #code,
        };
    }
}

fn code(identifier: &Ident, parameters: &[(Ident, Type)], types: &[&Type]) -> TokenStream {
    let names: Vec<&Ident> = parameters.iter().map(|(name, _)| name).collect();
    // serde reads no JSON array as `()`, so a task without arguments reads one of any kind.
    let arguments = match types {
        [] => quote!(let _: [(); 0] = ::watertight::__private::arguments_from_json(json)?;),
        _ => quote!(let (#(#names,)*): (#(#types,)*) = ::watertight::__private::arguments_from_json(json)?;),
    };
    quote! {
        ::core::option::Option::Some(::watertight::__private::Code {
            descriptor: || ::watertight::__private::descriptor_of::<_, (#(#types,)*)>(#identifier),
            json: |json| {
                #[allow(unused_imports)]
                use ::watertight::__private::{DebuggedError, DisplayedError, PlainValue};
                #arguments
                (&&&::watertight::__private::Outcome(#identifier(#(#names),*))).to_json()
            },
        })
    }
}

fn first_paragraph(attributes: &[Attribute]) -> String {
    let lines =
        attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
            match &attribute.meta.require_name_value().ok()?.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
                _ => None,
            }
        });
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
