use super::{
    Api,
    auth::Caller,
    error::Problem,
    input::{JsonBody, NoParams, Params, PathUser, Stream, account},
    openapi::{Read, StreamParam, UserParam, Write},
    streams::{demand, manage, unknown_stream},
    time::Time,
};
use crate::{AddedRights, ManageAction};
use axum::{Json, extract::State, http::StatusCode};
use mainstem_model::{Address, Grant, Right, StreamId};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// The five permissions, by the words that Streamr's users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Permission)]
pub(super) enum PermissionWord {
    Edit,
    Delete,
    Publish,
    Subscribe,
    Grant,
}

impl PermissionWord {
    pub(super) const fn right(self) -> Right {
        match self {
            Self::Edit => Right::Edit,
            Self::Delete => Right::Delete,
            Self::Publish => Right::Publish,
            Self::Subscribe => Right::Subscribe,
            Self::Grant => Right::Grant,
        }
    }

    const fn of(right: Right) -> Self {
        match right {
            Right::Edit => Self::Edit,
            Right::Delete => Self::Delete,
            Right::Publish => Self::Publish,
            Right::Subscribe => Self::Subscribe,
            Right::Grant => Self::Grant,
        }
    }
}

/// Permissions to grant: to one `user`, or with `public: true` to everyone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewGrant {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    public: bool,
    permissions: Vec<PermissionWord>,
    #[serde(default)]
    expires_at: Option<Time>,
}

/// Permissions to grant; they are added to what the account has.
#[derive(Debug, ToSchema)]
#[schema(as = NewGrant)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) enum NewGrantBody {
    User(UserGrant),
    Public(PublicGrant),
}

/// To one account.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct UserGrant {
    /// An account.
    #[schema(pattern = "^0x(?!0{40}$)[0-9a-fA-F]{40}$")]
    user: String,
    #[schema(min_items = 1)]
    permissions: Vec<PermissionWord>,
    /// Last moment of `publish` and `subscribe`; for ever when absent. The other permissions do not expire and cannot be
    /// granted together with it.
    expires_at: Option<Time>,
}

/// To everyone.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct PublicGrant {
    /// Always `true`.
    #[schema(value_type = True)]
    public: bool,
    #[schema(min_items = 1)]
    permissions: Vec<PublicWord>,
    /// Last moment; for ever when absent.
    expires_at: Option<Time>,
}

/// `true` and nothing else.
#[derive(Debug)]
pub(super) struct True;

impl utoipa::PartialSchema for True {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).into()
    }
}

impl ToSchema for True {
    fn name() -> Cow<'static, str> {
        "True".into()
    }
}

/// What everyone can be granted.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) enum PublicWord {
    Publish,
    Subscribe,
}

impl NewGrant {
    pub(super) fn everyone(permissions: &[PermissionWord]) -> Self {
        Self { user: None, public: true, permissions: permissions.to_vec(), expires_at: None }
    }

    /// To whom.
    pub(super) fn account(&self) -> Result<Address, Problem> {
        match (&self.user, self.public) {
            (Some(user), false) => account("user", user),
            (None, true) => Ok(Address::ZERO),
            _ => Err(Problem::argument("say either user or public: true")),
        }
    }

    /// What it adds to what the account has.
    pub(super) fn rights(&self) -> Result<AddedRights, Problem> {
        let mut added = AddedRights::default();
        if self.permissions.is_empty() {
            return Err(Problem::argument(
                "permissions is empty; to revoke, delete the account's permissions",
            ));
        }
        let until = self.expires_at.map_or(Grant::FOREVER, |time| time.unix_s().min(Grant::FOREVER));
        for word in &self.permissions {
            let flag = match word {
                PermissionWord::Publish => {
                    added.publish_until = Some(until);
                    continue;
                }
                PermissionWord::Subscribe => {
                    added.subscribe_until = Some(until);
                    continue;
                }
                PermissionWord::Edit => Grant::EDIT,
                PermissionWord::Delete => Grant::DELETE,
                PermissionWord::Grant => Grant::GRANT,
            };
            if self.public {
                return Err(Problem::argument("public can have publish and subscribe only"));
            }
            if self.expires_at.is_some() {
                return Err(Problem::argument(
                    "expiresAt goes with publish and subscribe only; grant the others apart",
                ));
            }
            added.flags |= flag;
        }
        Ok(added)
    }
}

/// Permissions of one account, or of everyone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Permissions {
    /// The account; absent for everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    user: Option<String>,
    /// This is everyone's.
    public: bool,
    /// What was granted and has not expired.
    permissions: Vec<PermissionWord>,
    /// Last moment of `publish`; absent when it does not expire or is not granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_expires_at: Option<String>,
    /// Last moment of `subscribe`; absent when it does not expire or is not granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribe_expires_at: Option<String>,
}

impl Permissions {
    fn of(account: Address, grant: Grant, now_s: u64) -> Self {
        let allowed = |right| grant.allows(right, now_s);
        let expiry = |right, until: u64| {
            let unix_ms = i64::try_from(until.saturating_mul(1000)).unwrap_or(i64::MAX);
            (allowed(right) && until < Grant::FOREVER).then(|| Time { unix_ms }.to_string())
        };
        let public = account == Address::ZERO;
        Self {
            user: (!public).then(|| account.to_string()),
            public,
            permissions: Right::ALL
                .into_iter()
                .filter(|right| allowed(*right))
                .map(PermissionWord::of)
                .collect(),
            publish_expires_at: expiry(Right::Publish, grant.publish_until),
            subscribe_expires_at: expiry(Right::Subscribe, grant.subscribe_until),
        }
    }
}

/// Everyone's permissions to a stream that were granted and have not expired.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PermissionList {
    permissions: Vec<Permissions>,
}

/// What an account may do with a stream, and by what.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserPermissions {
    /// What was granted to the account itself.
    granted: Permissions,
    /// What it may do now: its own grants, everyone's, and what an owner always may.
    permissions: Vec<PermissionWord>,
}

/// Who may do what with a stream.
#[utoipa::path(
    get, path = "/streams/{id}/permissions", tag = "permissions", operation_id = "getPermissions", params(StreamParam),
    responses((status = 200, body = PermissionList), Read)
)]
pub(super) async fn list(
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<PermissionList>, Problem> {
    let now_s = Time::now().unix_s();
    let registry = api.handle.registry();
    registry.stream(stream).ok_or_else(|| unknown_stream(stream))?;
    let permissions = registry
        .grants(stream)
        .map(|(account, grant)| Permissions::of(account, grant, now_s))
        .filter(|entry| !entry.permissions.is_empty())
        .collect();
    Ok(Json(PermissionList { permissions }))
}

/// What one account may do with a stream.
#[utoipa::path(
    get, path = "/streams/{id}/permissions/{user}", tag = "permissions", operation_id = "getUserPermissions",
    params(StreamParam, UserParam),
    responses((status = 200, body = UserPermissions), Read)
)]
pub(super) async fn get(
    Stream(stream): Stream,
    PathUser(user): PathUser,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<UserPermissions>, Problem> {
    let now_s = Time::now().unix_s();
    let registry = api.handle.registry();
    registry.stream(stream).ok_or_else(|| unknown_stream(stream))?;
    let permissions = Right::ALL
        .into_iter()
        .filter(|right| registry.can(stream, Some(user), *right, now_s))
        .map(PermissionWord::of)
        .collect();
    let granted = Permissions::of(user, grant_of(&api, stream, user), now_s);
    Ok(Json(UserPermissions { granted, permissions }))
}

/// Grant permissions. Takes the right `grant`.
#[utoipa::path(
    post, path = "/streams/{id}/permissions", tag = "permissions", operation_id = "grantPermissions", params(StreamParam),
    request_body = NewGrantBody,
    responses((status = 200, body = Permissions), Write),
    security(("apiKey" = []))
)]
pub(super) async fn grant(
    Caller(identity): Caller,
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(new): JsonBody<NewGrant>,
) -> Result<Json<Permissions>, Problem> {
    let account = new.account()?;
    let rights = new.rights()?;
    demand(&api, stream, identity, Right::Grant)?;
    manage(&api, identity, ManageAction::Grant { stream, account, rights }).await?;
    Ok(Json(Permissions::of(account, grant_of(&api, stream, account), Time::now().unix_s())))
}

/// Revoke all permissions of an account. Takes the right `grant`; anybody may give up their own.
#[utoipa::path(
    delete, path = "/streams/{id}/permissions/{user}", tag = "permissions", operation_id = "revokePermissions",
    params(StreamParam, UserParam),
    responses((status = 204, description = "It has none any more."), Write),
    security(("apiKey" = []))
)]
pub(super) async fn revoke(
    Caller(identity): Caller,
    Stream(stream): Stream,
    PathUser(user): PathUser,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<StatusCode, Problem> {
    if user == identity {
        api.handle.registry().stream(stream).ok_or_else(|| unknown_stream(stream))?;
    } else {
        demand(&api, stream, identity, Right::Grant)?;
    }
    manage(&api, identity, ManageAction::Revoke { stream, account: user }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an account was granted itself.
fn grant_of(api: &Api, stream: StreamId, account: Address) -> Grant {
    let registry = api.handle.registry();
    registry.grants(stream).find(|(who, _)| *who == account).map_or(Grant::NONE, |(_, grant)| grant)
}
