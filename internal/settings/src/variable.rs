//! The description of a setting, from which flags, environment variables, help and documents are
//! derived.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A row in the table of variables. Its flag is its name in lower case with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The name of the environment variable.
    pub name: &'static str,
    /// The heading above it in the help.
    pub group: &'static str,
    /// `true` if its value must never be shown.
    pub is_secret: bool,
    /// The name of the variable that names a file with the value. Only a secret has one.
    pub file_name: Option<&'static str>,
    /// The placeholder for its value in the help.
    pub value: &'static str,
    /// The default as shown in the help.
    pub default: ShownDefault,
    /// The description shown in the help.
    pub help: &'static str,
}

impl Variable {
    /// Returns the name of the flag, without the two hyphens.
    pub fn flag(&self) -> String {
        flag_of(self.name)
    }

    /// Returns the name of the flag that names a file with the value, without the two hyphens.
    pub fn file_flag(&self) -> Option<String> {
        self.file_name.map(flag_of)
    }

    const fn showing(self, default: ShownDefault) -> Self {
        Self { default, ..self }
    }
}

fn flag_of(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The default of a variable as the help shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownDefault {
    /// There is no default. It prints as an empty text.
    None,
    /// A text, which may describe a value that is computed or borrowed from another variable.
    Text(&'static str),
    /// A number, in the variable's unit.
    Number(u64),
    /// A boolean.
    Boolean(bool),
}

impl fmt::Display for ShownDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// A variable with the default that the reader returns if it is unset. The type of the default
/// decides which methods of the reader accept it; `()` means that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<T> {
    /// The row in the table.
    pub variable: Variable,
    /// The value of an unset variable.
    pub default: T,
}

impl<T> Deref for Setting<T> {
    type Target = Variable;

    fn deref(&self) -> &Variable {
        &self.variable
    }
}

/// Defines a constructor for each type of whole number.
macro_rules! whole_numbers {
    ($($number:ident)*) => {
        $(impl Setting<$number> {
            /// Describes a whole number.
            pub const fn $number(variable: Variable, default: $number) -> Self {
                let shown = ShownDefault::Number(default as u64);
                Self { variable: variable.showing(shown), default }
            }
        })*
    };
}

whole_numbers! { u16 u32 u64 usize }

impl Setting<()> {
    /// Describes a setting without a default.
    pub const fn none(variable: Variable) -> Self {
        Self {
            variable,
            default: (),
        }
    }

    /// Describes a setting whose default is found when it is read; the help shows this text.
    pub const fn shown(variable: Variable, default: &'static str) -> Self {
        Self {
            variable: variable.showing(ShownDefault::Text(default)),
            default: (),
        }
    }
}

impl Setting<&'static str> {
    /// Describes a text.
    pub const fn text(variable: Variable, default: &'static str) -> Self {
        Self {
            variable: variable.showing(ShownDefault::Text(default)),
            default,
        }
    }
}

impl Setting<bool> {
    /// Describes a boolean.
    pub const fn bool(variable: Variable, default: bool) -> Self {
        Self {
            variable: variable.showing(ShownDefault::Boolean(default)),
            default,
        }
    }
}

impl Setting<Duration> {
    /// Describes a duration in whole seconds.
    pub const fn seconds(variable: Variable, default: Duration) -> Self {
        Self {
            variable: variable.showing(ShownDefault::Number(default.as_secs())),
            default,
        }
    }

    /// Describes a duration in whole milliseconds.
    pub const fn milliseconds(variable: Variable, default: Duration) -> Self {
        Self {
            variable: variable.showing(ShownDefault::Number(default.as_millis() as u64)),
            default,
        }
    }
}

/// Declares the variables of a module: one constant [`Setting`] each, and a table of all of them in
/// the order of the help.
///
/// A line holds `secret` or `plain`, the name, the placeholder of the value, the default as a call
/// of a constructor of [`Setting`] (`none`, `shown`, `text`, `bool`, `u16`, `u32`, `u64`, `usize`,
/// `seconds`, `milliseconds`), and the description without a final full stop. A visibility before it
/// is that of the constant. The value of a `secret` may also be in a file, which a variable of the same
/// name with the suffix `_FILE` names.
///
/// ```
/// # use std::time::Duration;
/// const HEARTBEAT: Duration = Duration::from_secs(25);
///
/// latido_settings::variables! {
///     /// The settings of a connection.
///     pub const VARIABLES;
///     "Limits" {
///         plain HEARTBEAT_SECONDS "SECONDS" = seconds(HEARTBEAT), "Time after which a silent client is pinged";
///         plain MAX_CHANNELS "N" = usize(100), "Maximum number of channels of one connection";
///     }
/// }
/// assert_eq!((VARIABLES.len(), HEARTBEAT_SECONDS.default), (2, HEARTBEAT));
/// assert_eq!(MAX_CHANNELS.variable.default.to_string(), "100");
/// ```
#[macro_export]
macro_rules! variables {
    (@secrecy secret) => { true };
    (@secrecy plain) => { false };
    (@file secret $name:ident) => { Some(concat!(stringify!($name), "_FILE")) };
    (@file plain $name:ident) => { None };
    (@type none) => { () };
    (@type shown) => { () };
    (@type text) => { &'static str };
    (@type seconds) => { ::std::time::Duration };
    (@type milliseconds) => { ::std::time::Duration };
    (@type $number_or_bool:ident) => { $number_or_bool };
    ($(#[$attribute:meta])* $table_visibility:vis const $table:ident;
     $($group:literal { $(
        $visibility:vis $secrecy:ident $name:ident $value:literal
            = $constructor:ident $(($default:expr))?, $help:literal;
    )* })*) => {
        $($(
            #[doc = $help]
            $visibility const $name: $crate::Setting<$crate::variables!(@type $constructor)> =
                $crate::Setting::$constructor(
                    $crate::Variable {
                        name: stringify!($name),
                        group: $group,
                        is_secret: $crate::variables!(@secrecy $secrecy),
                        file_name: $crate::variables!(@file $secrecy $name),
                        value: $value,
                        default: $crate::ShownDefault::None,
                        help: $help,
                    },
                    $($default)?
                );
        )*)*

        $(#[$attribute])*
        $table_visibility const $table: &[$crate::Variable] = &[$($($name.variable),*),*];
    };
}
