//! Answers in the shapes GitLab gives them: errors, pages, parameters.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Failure {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body }
    }

    pub(crate) fn message(status: StatusCode, text: &str) -> Self {
        Self::new(status, json!({ "message": text }))
    }

    pub(crate) fn unauthorized() -> Self {
        Self::message(StatusCode::UNAUTHORIZED, "401 Unauthorized")
    }

    pub(crate) fn invalid_token(description: &str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            json!({ "error": "invalid_token", "error_description": description }),
        )
    }

    pub(crate) fn insufficient_scope(accepted: &[&str]) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            json!({
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the access token.",
                "scope": accepted.join(" "),
            }),
        )
    }

    pub(crate) fn forbidden(reason: &str) -> Self {
        let text =
            if reason.is_empty() { "403 Forbidden".to_owned() } else { format!("403 Forbidden - {reason}") };
        Self::message(StatusCode::FORBIDDEN, &text)
    }

    pub(crate) fn no_access() -> Self {
        Self::forbidden("No access granted")
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::message(StatusCode::NOT_FOUND, &format!("404 {what} Not Found"))
    }

    /// A refused parameter, as Grape words it.
    pub(crate) fn grape(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, json!({ "error": text }))
    }

    /// A refused model, as Rails words it.
    pub(crate) fn model(errors: &BTreeMap<&'static str, Vec<String>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, json!({ "message": errors }))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        reply(self.status, &self.body)
    }
}

pub(crate) type Answer = Result<Response, Failure>;

pub(crate) fn reply(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn ok(body: &Value) -> Answer {
    Ok(reply(StatusCode::OK, body))
}

/// Milliseconds, as REST prints times.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

pub(crate) fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(time(at)))
}

/// Query and body as one map: JSON, or a form with `tag_list[]=a`.
#[derive(Debug, Default)]
pub(crate) struct Params(Map<String, Value>);

impl Params {
    pub(crate) fn parse(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        let mut map = Map::new();
        form(&mut map, query.unwrap_or_default().as_bytes());
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if kind.contains("json") {
            if !body.is_empty() {
                match serde_json::from_slice::<Value>(body) {
                    Ok(Value::Object(json)) => map.extend(json),
                    _ => return Err(Failure::grape("Invalid JSON")),
                }
            }
        } else if kind.contains("form-urlencoded") {
            form(&mut map, body);
        }
        Ok(Self(map))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self.text(key).filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Failure::grape(&format!("{key} is invalid"))),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.text(key).as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "1" | "t" | "on") => Ok(Some(true)),
            Some("false" | "0" | "f" | "off") => Ok(Some(false)),
            Some(_) => Err(Failure::grape(&format!("{key} is invalid"))),
        }
    }

    pub(crate) fn one_of(&self, key: &str, allowed: &[&str]) -> Result<Option<String>, Failure> {
        match self.text(key) {
            Some(text) if !allowed.contains(&text.as_str()) => {
                Err(Failure::grape(&format!("{key} does not have a valid value")))
            }
            other => Ok(other),
        }
    }

    /// Array or comma-joined text; elements split on commas, trimmed, unique.
    pub(crate) fn tags(&self, key: &str) -> Result<Option<Vec<String>>, Failure> {
        if !self.has(key) {
            return Ok(None);
        }
        let parts: Vec<String> = match self.0.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            Some(_) => return Err(Failure::grape(&format!("{key} is invalid"))),
        };
        Ok(Some(split_tags(&parts)))
    }
}

pub(crate) fn split_tags(parts: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in parts.iter().flat_map(|p| p.split(',')).map(str::trim).filter(|t| !t.is_empty()) {
        if !tags.iter().any(|t| t == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn form(map: &mut Map<String, Value>, bytes: &[u8]) {
    for (key, value) in form_urlencoded::parse(bytes) {
        let value = Value::String(value.into_owned());
        if let Some(name) = key.strip_suffix("[]") {
            match map.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(items) => items.push(value),
                other => *other = Value::Array(vec![value]),
            }
        } else {
            map.insert(key.into_owned(), value);
        }
    }
}

fn encoded(id: u64) -> String {
    URL_SAFE.encode(json!({ "id": id.to_string(), "_kd": "n" }).to_string())
}

fn decoded(cursor: &str) -> Option<u64> {
    let json: Value = serde_json::from_slice(&URL_SAFE.decode(cursor).ok()?).ok()?;
    json.get("id")?.as_str()?.parse().ok()
}

/// Keyset pagination by id, in the order of `rows`: what comes behind the cursor, without any total.
pub(crate) fn keyset_page<T>(
    rows: &[T],
    params: &Params,
    path: &str,
    query: Option<&str>,
    id: impl Fn(&T) -> u64,
    render: impl Fn(&T) -> Value,
) -> Answer {
    let per_page = params.number("per_page")?.unwrap_or(20).clamp(1, 100) as usize;
    let start = match params.text("cursor").filter(|c| !c.is_empty()) {
        None => 0,
        Some(cursor) => {
            let last = decoded(&cursor).ok_or_else(|| Failure::grape("cursor is invalid"))?;
            let descending = rows.first().zip(rows.last()).is_some_and(|(a, b)| id(a) > id(b));
            rows.iter().take_while(|r| if descending { id(r) >= last } else { id(r) <= last }).count()
        }
    };
    let found = rows.get(start..rows.len().min(start + per_page)).unwrap_or_default();
    let mut response = reply(StatusCode::OK, &found.iter().map(render).collect());
    if let Some(last) = found.last().filter(|_| start + found.len() < rows.len()) {
        let next = encoded(id(last));
        let others = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others.filter(|(k, _)| k != "cursor" && k != "private_token"))
            .append_pair("cursor", &next)
            .finish();
        for (name, text) in [("link", format!("<{path}?{query}>; rel=\"next\"")), ("x-next-cursor", next)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    Ok(response)
}

/// Offset pagination: one page of `rows` with GitLab's headers. Totals are dropped above 10,000 rows.
pub(crate) fn page<T>(
    rows: &[T],
    params: &Params,
    path: &str,
    query: Option<&str>,
    render: impl Fn(&T) -> Value,
) -> Answer {
    let page = params.number("page")?.unwrap_or(1).max(1) as usize;
    let per_page = params.number("per_page")?.unwrap_or(20).clamp(1, 100) as usize;
    let pages = rows.len().div_ceil(per_page).max(1);
    let body: Vec<Value> = rows.iter().skip((page - 1) * per_page).take(per_page).map(render).collect();
    let mut response = reply(StatusCode::OK, &Value::Array(body));

    let others: Vec<(String, String)> = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(k, _)| k != "page" && k != "per_page" && k != "private_token")
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let link = |page: usize, rel: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&others)
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &per_page.to_string())
            .finish();
        format!("<{path}?{query}>; rel=\"{rel}\"")
    };
    let (previous, next) = ((page > 1).then(|| page - 1), (page < pages).then(|| page + 1));
    let counted = rows.len() <= 10_000;
    let mut links = Vec::new();
    links.extend(previous.map(|p| link(p, "prev")));
    links.extend(next.map(|p| link(p, "next")));
    links.push(link(1, "first"));
    if counted {
        links.push(link(pages, "last"));
    }
    let text = |number: Option<usize>| number.map(|n| n.to_string()).unwrap_or_default();
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put("link", links.join(", "));
    put("x-page", page.to_string());
    put("x-per-page", per_page.to_string());
    put("x-prev-page", text(previous));
    put("x-next-page", text(next));
    if counted {
        put("x-total", rows.len().to_string());
        put("x-total-pages", pages.to_string());
    }
    Ok(response)
}
