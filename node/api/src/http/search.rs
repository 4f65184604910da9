use super::{
    Api,
    error::Problem,
    input::{Params, address},
    openapi::Read,
    permissions::PermissionWord,
    streams::StreamBody,
    time::Time,
};
use axum::{Json, extract::State};
use mainstem_model::{Address, Registry, Right, StreamId, StreamRecord};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is looked for; all that is given must hold.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParams {
    /// Text in the id, the path or the metadata; letter case of ASCII does not matter.
    #[param(max_length = 256)]
    term: Option<String>,
    /// Only streams of this owner.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    owner: Option<String>,
    /// Only streams with which this account may do `right`.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    user: Option<String>,
    /// With `user` or `public`: which permission it is about; `subscribe` when absent.
    #[param(inline)]
    right: Option<PermissionWord>,
    /// Without `user`: only streams with which everyone may (`true`) or may not (`false`) do `right`. With `user`: whether
    /// what everyone may counts, which it does when absent.
    public: Option<bool>,
    /// At most so many in this page; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    cursor: Option<String>,
}

/// A page of streams, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamPage {
    streams: Vec<StreamBody>,
    /// Cursor of the next page; absent when this is the last. A page can have fewer streams than asked for, even none, and
    /// still have a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Streams in a page when nothing else is said.
const LIMIT_DEFAULT: usize = 100;
/// Streams looked at while the registry is held; what the driver waits for at most.
const SCAN_STEP: usize = 500;

#[derive(Debug)]
struct Search {
    term: Option<String>,
    owner: Option<Address>,
    user: Option<Address>,
    right: Right,
    public: Option<bool>,
    by_right: bool,
    now_s: u64,
}

/// Find streams.
#[utoipa::path(
    get, path = "/streams", tag = "streams", operation_id = "searchStreams", params(SearchParams),
    responses((status = 200, body = StreamPage), Read)
)]
pub(super) async fn search(
    State(api): State<Arc<Api>>,
    Params(params): Params<SearchParams>,
) -> Result<Json<StreamPage>, Problem> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > api.config.search_results_max {
        let message = format!("limit is not a number from 1 to {}", api.config.search_results_max);
        return Err(Problem::argument(message));
    }
    if params.term.as_ref().is_some_and(|term| term.chars().count() > 256) {
        return Err(Problem::argument("term is longer than 256 characters"));
    }
    let cursor = params.cursor.as_deref().map(|text| {
        text.parse().map(StreamId).map_err(|_| Problem::argument("cursor is not the next of a page before"))
    });
    let mut after = cursor.transpose()?;
    let search = Search {
        term: params.term.map(|term| term.to_ascii_lowercase()).filter(|term| !term.is_empty()),
        owner: params.owner.map(|owner| address("owner", &owner)).transpose()?,
        user: params.user.map(|user| address("user", &user)).transpose()?,
        by_right: params.right.is_some(),
        right: params.right.map_or(Right::Subscribe, PermissionWord::right),
        public: params.public,
        now_s: Time::now().unix_s(),
    };
    let mut streams = Vec::new();
    let mut seen = 0;
    loop {
        let step = search.step(&api.handle.registry(), after, limit - streams.len());
        streams.extend(step.found.iter().map(StreamBody::of));
        seen += step.seen;
        after = step.last;
        if step.at_end {
            return Ok(Json(StreamPage { streams, next: None }));
        }
        if streams.len() >= limit || seen >= api.config.search_scan_max {
            return Ok(Json(StreamPage { streams, next: after.map(|id| id.to_string()) }));
        }
        tokio::task::yield_now().await;
    }
}

struct Step {
    found: Vec<StreamRecord>,
    seen: usize,
    last: Option<StreamId>,
    at_end: bool,
}

impl Search {
    /// Looks at a few streams behind `after`.
    fn step(&self, registry: &Registry, after: Option<StreamId>, wanted: usize) -> Step {
        let mut step = Step { found: Vec::new(), seen: 0, last: after, at_end: false };
        let mut rest = registry.streams_after(after);
        while step.seen < SCAN_STEP && step.found.len() < wanted {
            let Some(record) = rest.next() else {
                step.at_end = true;
                return step;
            };
            step.seen += 1;
            step.last = Some(record.id);
            if self.wants(registry, record) {
                step.found.push(record.clone());
            }
        }
        step.at_end = rest.next().is_none();
        step
    }

    fn wants(&self, registry: &Registry, record: &StreamRecord) -> bool {
        self.owner.is_none_or(|owner| owner == record.owner)
            && self.wants_rights(registry, record)
            && self.term.as_ref().is_none_or(|term| {
                contains(&record.metadata, term)
                    || record.path.as_ref().is_some_and(|path| contains(path, term))
                    || contains(&record.id.to_string(), term)
            })
    }

    fn wants_rights(&self, registry: &Registry, record: &StreamRecord) -> bool {
        let may = |who| registry.can(record.id, who, self.right, self.now_s);
        match (self.user, self.public) {
            (None, None) => !self.by_right || may(None),
            (None, Some(public)) => may(None) == public,
            (Some(user), Some(false)) => {
                let owner = user == record.owner && self.right == Right::Grant;
                owner
                    || registry
                        .grants(record.id)
                        .any(|(who, grant)| who == user && grant.allows(self.right, self.now_s))
            }
            (Some(user), _) => may(Some(user)),
        }
    }
}

/// Whether `text` has `term`, which is lower case, in any letter case.
fn contains(text: &str, term: &str) -> bool {
    text.as_bytes().windows(term.len()).any(|part| part.eq_ignore_ascii_case(term.as_bytes()))
}
