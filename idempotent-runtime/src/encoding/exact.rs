//! A serializer that refuses what its format would not keep apart.

use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Hands all to `S`, a serializer of JSON, but for what is `null` there and was something else:
/// `Some` of what is `null` itself, and numbers that are not finite.
pub(super) struct Exact<S> {
    to: S,
    /// Whether what comes is the content of a `Some`, with nothing written around it.
    in_some: bool,
}

impl<S> Exact<S> {
    pub(super) fn new(to: S) -> Self {
        Self { to, in_some: false }
    }
}

impl<S: Serializer> Exact<S> {
    /// To write `null`.
    fn nothing(self) -> Result<S, S::Error> {
        if self.in_some { Err(some_of_nothing()) } else { Ok(self.to) }
    }

    /// To write a number.
    fn number(self, is_finite: bool, number: impl fmt::Display) -> Result<S, S::Error> {
        if is_finite { Ok(self.to) } else { Err(not_finite(number)) }
    }
}

#[cold]
fn some_of_nothing<E: Error>() -> E {
    E::custom(
        "`Some(())`, `Some(None)` and a `Some` of anything else that is `null` in JSON would be read \
         back as `None`: use a `bool` or an enum",
    )
}

#[cold]
fn not_finite<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format_args!(
        "`{number}` is `null` in JSON and would not be read back as a number: use an `Option` or an \
         enum"
    ))
}

/// A part of a value, for a serializer that hands it one of its own.
struct Part<'a, T: ?Sized> {
    value: &'a T,
    in_some: bool,
}

impl<'a, T: ?Sized> Part<'a, T> {
    fn new(value: &'a T) -> Self {
        Self { value, in_some: false }
    }
}

impl<T: Serialize + ?Sized> Serialize for Part<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Exact { to, in_some: self.in_some })
    }
}

/// What cannot be `null`.
macro_rules! forward {
    ($($method:ident($($name:ident: $value:ty),*) $(-> $part:ident)?;)*) => {$(
        forward! { @ $method($($name: $value),*) $($part)? }
    )*};
    (@ $method:ident($($name:ident: $value:ty),*)) => {
        #[inline]
        fn $method(self, $($name: $value),*) -> Result<S::Ok, S::Error> {
            self.to.$method($($name),*)
        }
    };
    (@ $method:ident($($name:ident: $value:ty),*) $part:ident) => {
        #[inline]
        fn $method(self, $($name: $value),*) -> Result<Exact<S::$part>, S::Error> {
            self.to.$method($($name),*).map(Exact::new)
        }
    };
}

impl<S: Serializer> Serializer for Exact<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Exact<S::SerializeSeq>;
    type SerializeTuple = Exact<S::SerializeTuple>;
    type SerializeTupleStruct = Exact<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Exact<S::SerializeTupleVariant>;
    type SerializeMap = Exact<S::SerializeMap>;
    type SerializeStruct = Exact<S::SerializeStruct>;
    type SerializeStructVariant = Exact<S::SerializeStructVariant>;

    forward! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant;
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.number(value.is_finite(), value)?.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.number(value.is_finite(), value)?.serialize_f64(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.nothing()?.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.serialize_some(&Part { value, in_some: true })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.nothing()?.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.nothing()?.serialize_unit_struct(name)
    }

    /// JSON has nothing around the content of a newtype.
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let part = Part { value, in_some: self.in_some };
        self.to.serialize_newtype_struct(name, &part)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.to.serialize_newtype_variant(name, index, variant, &Part::new(value))
    }

    #[inline]
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.to.is_human_readable()
    }
}

/// What is made of parts, one after the other.
macro_rules! parts {
    ($($of:ident $method:ident;)*) => {$(
        impl<S: $of> $of for Exact<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.to.$method(&Part::new(value))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.to.end()
            }
        }
    )*};
}
parts! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

/// What is made of parts with names.
macro_rules! fields {
    ($($of:ident;)*) => {$(
        impl<S: $of> $of for Exact<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.to.serialize_field(name, &Part::new(value))
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.to.skip_field(name)
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.to.end()
            }
        }
    )*};
}
fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Exact<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.to.serialize_key(&Part::new(key))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.to.serialize_value(&Part::new(value))
    }

    #[inline]
    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), S::Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        self.to.serialize_entry(&Part::new(key), &Part::new(value))
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.to.end()
    }
}
