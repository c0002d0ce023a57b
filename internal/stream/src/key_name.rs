//! The key of a topic as a channel's name writes it: `7`, `7/3`, `7/3?desde=2026-11-01`.
//!
//! The parts of a key are percent-encoded and joined by `/`. The parameters follow as in a URL's
//! query (URL standard, section 5.1). The key of a stream with one part and no parameters is
//! written as it is, undecoded: such names are older than the others, and a text key may hold any of
//! these characters.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::definition::{Stream, key_prefix};
use crate::key_type::{KeyType, WrongType};
use crate::param::{Param, ParamKind};
use crate::text_key::MAX_KEY_BYTES;
use latido_base::ident::{Channel, Key};

/// The characters of a part that are encoded: all but letters, digits and `-._~` (RFC 3986, section
/// 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns a key part as the names of channels write it, where they encode parts.
pub fn encode_part(part: &str) -> String {
    utf8_percent_encode(part, ENCODED).to_string()
}

/// Returns the parameters of a channel as its name writes them: the query of a URL.
pub fn encode_params<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(params).finish()
}

/// The reason why a text is not a key of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The key has one part, which does not match its type.
    #[error(transparent)]
    Type(WrongType),
    /// A part of several does not match its type.
    #[error("{field}: expected {expected}")]
    Part {
        /// The name of the key part.
        field: String,
        /// Its type.
        expected: KeyType,
    },
    /// The number of parts is wrong.
    #[error("expected {expected}")]
    Form {
        /// The form of a key.
        expected: String,
    },
    /// The parts are too long together.
    #[error("expected at most {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// The text is longer than any key can be written.
    #[error("expected at most {limit} bytes with the parameters")]
    LongText {
        /// The limit.
        limit: usize,
    },
    /// A parameter without a default is missing.
    #[error("{name} is missing; expected {expected}")]
    MissingParam {
        /// The name of the parameter.
        name: String,
        /// The possible values.
        expected: ParamKind,
    },
    /// A parameter has an impossible value.
    #[error("{name}: expected {expected}")]
    Param {
        /// The name of the parameter.
        name: String,
        /// The possible values.
        expected: ParamKind,
    },
    /// A parameter comes twice.
    #[error("{name} comes twice; expected it once")]
    RepeatedParam {
        /// The name of the parameter.
        name: String,
    },
    /// The stream has no such parameter.
    #[error("no parameter {name:?}; expected {expected}")]
    UnknownParam {
        /// The name that was given.
        name: String,
        /// The parameters of the stream.
        expected: String,
    },
}

/// The parts of a key as they are written, decoded, and its parameters, encoded.
struct WrittenKey<'a> {
    parts: Vec<Cow<'a, str>>,
    query: &'a str,
}

impl Stream {
    /// Returns whether the key is written as it is: it has one part, and there are no parameters.
    fn has_plain_keys(&self) -> bool {
        self.key_fields.len() == 1 && self.params.is_empty()
    }

    /// Splits a key. Returns `None` if a part is not UTF-8 once it is decoded.
    fn split_key<'a>(&self, text: &'a str) -> Option<WrittenKey<'a>> {
        if self.has_plain_keys() {
            return Some(WrittenKey {
                parts: vec![text.into()],
                query: "",
            });
        }
        let (parts, query) = text.split_once('?').unwrap_or((text, ""));
        let decode = |part: &'a str| percent_decode_str(part).decode_utf8().ok();
        let parts: Option<Vec<_>> = match parts.is_empty() && self.key_fields.is_empty() {
            true => Some(Vec::new()),
            false => parts.split('/').map(decode).collect(),
        };
        Some(WrittenKey {
            parts: parts?,
            query,
        })
    }

    /// Returns the text of a channel's name behind the stream's name, if it may be a key.
    pub(crate) fn key_of_name<'a>(&self, rest: &'a str) -> Option<&'a str> {
        match self.key_fields.is_empty() {
            true if rest.is_empty() || rest.starts_with('?') => Some(rest),
            true => None,
            false => rest.strip_prefix(':'),
        }
    }

    /// Returns the name of the channel of an address, whose key parts are these segments of a path,
    /// percent-encoded. The query is ignored if the stream has no parameters. Returns `None` if a
    /// key that a channel's name does not encode is not UTF-8 once it is decoded.
    pub fn channel_of_address(&self, parts: &[impl AsRef<str>], query: &str) -> Option<String> {
        let mut name = self.name.clone();
        let mut separator = ":";
        for part in parts.iter().map(AsRef::as_ref) {
            name.push_str(separator);
            match self.has_plain_keys() {
                true => name.push_str(&percent_decode_str(part).decode_utf8().ok()?),
                false => name.push_str(part),
            }
            separator = "/";
        }
        if !self.params.is_empty() && !query.is_empty() {
            name.push('?');
            name.push_str(query);
        }
        Some(name)
    }

    /// Returns the parts of a channel's key exactly as the client wrote them, decoded.
    pub fn parts_as_written<'a>(&self, channel: &'a Channel) -> Vec<Cow<'a, str>> {
        let rest = channel.name.get(self.name.len()..).unwrap_or_default();
        let written = self.key_of_name(rest).and_then(|key| self.split_key(key));
        written.map(|written| written.parts).unwrap_or_default()
    }

    /// Parses a key with its parameters, whose parts have these types, into its canonical form.
    ///
    /// # Errors
    /// The reason why it is not valid.
    pub fn parse_key(&self, types: &[KeyType], text: &str) -> Result<Key, InvalidKey> {
        let limit = self.max_text_bytes();
        if text.len() > limit && !self.has_plain_keys() {
            return Err(InvalidKey::LongText { limit });
        }
        let written = self.split_key(text).ok_or_else(|| self.expected_form())?;
        let key = self.canonical_key(types, &written.parts)?;
        Ok(key.with_params(self.parse_params(written.query)?))
    }

    /// Returns the length of the longest key with its parameters, in bytes. An encoded byte takes
    /// three. A query may be written in any number of ways, so that the text needs a limit of its
    /// own: rooms and frames hold the channel's name.
    fn max_text_bytes(&self) -> usize {
        let fields = self.key_fields.iter().map(|field| field.len() + 1);
        let params = self.params.iter();
        let params = params.map(|param| param.name.len() + param.kind.max_bytes() + 2);
        3 * (MAX_KEY_BYTES + fields.chain(params).sum::<usize>())
    }

    /// Parses a key and ignores its parameters, which need not be valid.
    ///
    /// # Errors
    /// The reason why it is not valid.
    pub fn parse_key_without_params(
        &self,
        types: &[KeyType],
        text: &str,
    ) -> Result<Key, InvalidKey> {
        let written = self.split_key(text).ok_or_else(|| self.expected_form())?;
        self.canonical_key(types, &written.parts)
    }

    /// Returns the key with these parts, each in any spelling.
    ///
    /// # Errors
    /// The reason why they are not valid.
    pub fn canonical_key<T: AsRef<str>>(
        &self,
        types: &[KeyType],
        parts: &[T],
    ) -> Result<Key, InvalidKey> {
        if parts.len() != self.key_fields.len() || types.len() != parts.len() {
            return Err(self.expected_form());
        }
        let mut canonical = Vec::with_capacity(parts.len());
        for ((part, of), field) in parts.iter().zip(types).zip(&self.key_fields) {
            let parsed = of.parse(part.as_ref(), key_prefix(field));
            canonical.push(parsed.map_err(|wrong| match self.has_plain_keys() {
                true => InvalidKey::Type(wrong),
                false => InvalidKey::Part {
                    field: field.clone(),
                    expected: wrong.0,
                },
            })?);
        }
        let bytes: usize = canonical.iter().map(String::len).sum();
        if bytes > MAX_KEY_BYTES {
            return Err(InvalidKey::TooLong);
        }
        Ok(Key::from_parts(canonical))
    }

    /// Returns the canonical values of all parameters, in order.
    fn parse_params(&self, query: &str) -> Result<Vec<String>, InvalidKey> {
        let mut chosen: Vec<Option<String>> = vec![None; self.params.len()];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let index = self.params.iter().position(|param| *param.name == *name);
            let index = index.ok_or_else(|| self.unknown_param(&name))?;
            let Param { name, kind, .. } = &self.params[index];
            let canonical = kind.parse(&value).ok_or_else(|| InvalidKey::Param {
                name: name.clone(),
                expected: kind.clone(),
            })?;
            if chosen[index].replace(canonical).is_some() {
                return Err(InvalidKey::RepeatedParam { name: name.clone() });
            }
        }
        let complete = |(value, param): (Option<String>, &Param)| {
            value
                .or_else(|| param.default.clone())
                .ok_or_else(|| InvalidKey::MissingParam {
                    name: param.name.clone(),
                    expected: param.kind.clone(),
                })
        };
        chosen.into_iter().zip(&self.params).map(complete).collect()
    }

    fn unknown_param(&self, name: &str) -> InvalidKey {
        let names: Vec<_> = self.params.iter().map(|param| &*param.name).collect();
        InvalidKey::UnknownParam {
            name: name.chars().take(MAX_KEY_BYTES).collect(),
            expected: match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(" or "),
            },
        }
    }

    fn expected_form(&self) -> InvalidKey {
        InvalidKey::Form {
            expected: self.channel_form(),
        }
    }

    /// Returns the form of this stream's channel names, for messages: `ventas:<key>` with one part,
    /// else with the names of the parts.
    pub fn channel_form(&self) -> String {
        match self.key_fields.as_slice() {
            [] => self.name.clone(),
            [_] => format!("{}:<key>", self.name),
            fields => format!("{}:<{}>", self.name, fields.join(">/<")),
        }
    }

    /// Returns the key's parts as a channel's name writes them, without parameters.
    pub fn write_key(&self, key: &Key) -> String {
        let parts = key.parts().map(|part| match self.has_plain_keys() {
            true => part.to_owned(),
            false => encode_part(part),
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Returns the key as an `authorize` query is shown it: a key of one part is the part, also if
    /// channels encode it, and one of several parts is written as in a channel.
    pub fn permission_text(&self, key: &Key) -> String {
        match self.key_fields.len() {
            1 => key.parts().collect(),
            _ => self.write_key(key),
        }
    }

    /// Parses a key that an `authorize` query returned, in any spelling.
    ///
    /// # Errors
    /// The reason why it is not valid.
    pub fn parse_permission_text(&self, types: &[KeyType], text: &str) -> Result<Key, InvalidKey> {
        match self.key_fields.len() {
            1 => self.canonical_key(types, &[text]),
            _ => self.parse_key_without_params(types, text),
        }
    }

    /// Returns the canonical name of the channel of a topic of this stream.
    pub fn channel_name(&self, key: &Key) -> String {
        let mut name = self.name.clone();
        if !self.key_fields.is_empty() {
            name.push(':');
        }
        name.push_str(&self.write_key(key));
        let names = self.params.iter().map(|param| param.name.as_str());
        let query = encode_params(names.zip(key.params()));
        if !query.is_empty() {
            name.push('?');
            name.push_str(&query);
        }
        name
    }
}

#[cfg(test)]
#[path = "key_name_tests.rs"]
mod tests;
