//! Reads what bincode wrote, and believes nothing of it.
//!
//! The bytes may come from a process that went wrong, or that wants to harm this one. So three things are
//! bounded here by the bytes that are there: how much is reserved, how deep a value is nested, and how many
//! items need no bytes at all.
//!
//! The format is bincode's, of fixed width: integers little-endian, lengths as `u64`, variants as `u32`, and
//! nothing for what the type says itself.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::codec::DecodeError;

/// So many options, variants, sequences and maps may stand inside each other. Other containers need one of
/// these to hold themselves, so nothing else is counted.
pub(super) const DEEPEST: u32 = 256;

/// Bytes of memory that items may take, in all, whose encodings are empty.
const MOST_FROM_NOTHING: usize = 1 << 22;

/// The bytes that are left.
pub(super) struct Source<'de> {
    rest: &'de [u8],
    from_nothing: usize,
}

impl<'de> Source<'de> {
    #[inline]
    pub(super) fn new(line: &'de [u8]) -> Source<'de> {
        Source { rest: line, from_nothing: MOST_FROM_NOTHING }
    }

    /// What to give to a type's `deserialize`.
    #[inline]
    pub(super) fn decoder(&mut self) -> Decoder<'_, 'de> {
        Decoder { source: self, deeper: DEEPEST }
    }

    /// How many bytes nobody has read.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Missing)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| DecodeError::Missing)
    }

    #[inline]
    fn bytes(&mut self, length: usize) -> Result<&'de [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Missing)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(DecodeError::Flag(other)),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, DecodeError> {
        let length = self.length()?;
        Ok(std::str::from_utf8(self.bytes(length)?)?)
    }

    #[inline]
    fn character(&mut self) -> Result<char, DecodeError> {
        let first = *self.rest.first().ok_or(DecodeError::Missing)?;
        let length = match first {
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        let text = std::str::from_utf8(self.bytes(length)?)?;
        text.chars().next().ok_or(DecodeError::Missing)
    }

    /// An item of this size was read while so many bytes were left: none at all may have been its encoding.
    #[inline]
    fn pay_for<T>(&mut self, left_before: usize) -> Result<(), DecodeError> {
        if self.rest.len() == left_before {
            let price = size_of::<T>().max(1);
            self.from_nothing =
                self.from_nothing.checked_sub(price).ok_or(DecodeError::FromNothing(MOST_FROM_NOTHING))?;
        }
        Ok(())
    }
}

/// Reads one value, and those in it.
pub(super) struct Decoder<'a, 'de> {
    source: &'a mut Source<'de>,
    /// How many more may stand inside each other.
    deeper: u32,
}

impl<'de> Decoder<'_, 'de> {
    #[inline]
    fn again(&mut self) -> Decoder<'_, 'de> {
        Decoder { source: self.source, deeper: self.deeper }
    }

    #[inline]
    fn inside(self) -> Result<Self, DecodeError> {
        let deeper = self.deeper.checked_sub(1).ok_or(DecodeError::TooDeep(DEEPEST))?;
        Ok(Decoder { deeper, ..self })
    }
}

/// What stands in a fixed number of bytes.
macro_rules! fixed {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(<$type>::from_le_bytes(self.source.array()?))
        }
    )*};
}

/// What the type has to say itself.
macro_rules! untold {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
            Err(DecodeError::Untold)
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;

    fixed! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    untold! { deserialize_any deserialize_identifier deserialize_ignored_any }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_bool(self.source.flag()?)
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_char(self.source.character()?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.source.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_string(self.source.text()?.to_owned())
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let length = self.source.length()?;
        visitor.visit_borrowed_bytes(self.source.bytes(length)?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let length = self.source.length()?;
        visitor.visit_byte_buf(self.source.bytes(length)?.to_vec())
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.source.flag()? {
            false => visitor.visit_none(),
            true => visitor.visit_some(self.inside()?),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let left = self.source.length()?;
        visitor.visit_seq(Items { decoder: self.inside()?, left })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let left = self.source.length()?;
        visitor.visit_map(Items { decoder: self.inside()?, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { decoder: self, left })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { decoder: self, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { decoder: self, left: fields.len() })
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(self)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// As many as the type has.
struct Fields<'a, 'de> {
    decoder: Decoder<'a, 'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.decoder.again()).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// As many as the bytes say.
struct Items<'a, 'de> {
    decoder: Decoder<'a, 'de>,
    left: usize,
}

impl<'de> Items<'_, 'de> {
    #[inline]
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let before = self.decoder.source.left();
        let item = seed.deserialize(self.decoder.again())?;
        self.decoder.source.pay_for::<T::Value>(before)?;
        Ok(Some(item))
    }

    /// No more than what comes can be: some types reserve room for all that they are promised.
    #[inline]
    fn promised(&self) -> usize {
        self.left.min(self.decoder.source.left())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.next(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.promised())
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        seed.deserialize(self.decoder.again())
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.promised())
    }
}

impl<'de> EnumAccess<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let index = u32::from_le_bytes(self.source.array()?);
        let index: de::value::U32Deserializer<DecodeError> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.inside()?)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { decoder: self.inside()?, left })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { decoder: self.inside()?, left: fields.len() })
    }
}

#[cfg(test)]
mod test;
