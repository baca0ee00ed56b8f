//! GraphQL's times and global ids.

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use jiff::Timestamp;

/// ISO 8601, whole seconds.
pub(super) struct Time(pub(super) Timestamp);

#[Scalar(name = "Time")]
impl ScalarType for Time {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => text.parse().map(Self).map_err(InputValueError::custom),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(format!("{:.0}", self.0))
    }
}

macro_rules! global_ids {
    ($($type:ident $name:tt $prefix:tt)*) => { $(
        #[doc = concat!("`", $prefix, "7`")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) struct $type(pub(super) u64);

        #[Scalar(name = $name)]
        impl ScalarType for $type {
            fn parse(value: Value) -> InputValueResult<Self> {
                global_id(value, $prefix).map(Self)
            }

            fn to_value(&self) -> Value {
                Value::String(format!(concat!($prefix, "{}"), self.0))
            }
        }
    )* };
}

global_ids! {
    CiRunnerID "CiRunnerID" "gid://gitlab/Ci::Runner/"
    UserID "UserID" "gid://gitlab/User/"
    GroupID "GroupID" "gid://gitlab/Group/"
    ProjectID "ProjectID" "gid://gitlab/Project/"
    IssueID "IssueID" "gid://gitlab/Issue/"
}

fn global_id<T: InputType>(value: Value, prefix: &str) -> Result<u64, InputValueError<T>> {
    let Value::String(text) = &value else {
        return Err(InputValueError::expected_type(value));
    };
    let id = text.strip_prefix(prefix).and_then(|n| n.parse().ok());
    id.ok_or_else(|| InputValueError::custom(format!("\"{text}\" is not a valid Global ID")))
}
