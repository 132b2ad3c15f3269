//! Who we are to a registry: credentials given for it, else those of the user's `docker login`.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{Reference, secrets::RegistryAuth};

/// Credentials of one registry, as the API's registries have them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Host, with its port unless that is the default: `ghcr.io`, `registry.example.org:5000`, `docker.io`.
    pub registry: String,
    pub username: String,
    pub password: String,
}

/// No secret in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.username, self.registry)
    }
}

/// What Docker Hub is called in image names, by its API, and in Docker's own configuration.
const HUB: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"];

/// The credentials to use for an image. Blocking: a credential helper is a program.
pub(super) fn find(image: &Reference, given: &[Credentials]) -> RegistryAuth {
    let own = given.iter().find(|given| same_registry(&given.registry, image.registry()));
    if let Some(own) = own {
        return RegistryAuth::Basic(own.username.clone(), own.password.clone());
    }
    if !has_config() {
        return RegistryAuth::Anonymous;
    }
    let is_hub = HUB.contains(&image.registry());
    let server = if is_hub { HUB[3] } else { image.registry() };
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => RegistryAuth::Basic(user, password),
        // What a helper has instead of a password; registries take it for this user.
        Ok(DockerCredential::IdentityToken(token)) => RegistryAuth::Basic("<token>".into(), token),
        Err(CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::NoCredentialConfigured) => {
            RegistryAuth::Anonymous
        }
        Err(error) => {
            // Its own text may quote what the helper printed.
            let kind = format!("{error:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned();
            tracing::warn!(registry = server, kind, "docker's credentials can't be used");
            RegistryAuth::Anonymous
        }
    }
}

/// Whether the user ever logged in anywhere.
fn has_config() -> bool {
    let home = || std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".docker"));
    let dir = std::env::var_os("DOCKER_CONFIG").map(std::path::PathBuf::from).or_else(home);
    dir.is_some_and(|dir| dir.join("config.json").is_file())
}

fn same_registry(given: &str, registry: &str) -> bool {
    let host = given.trim_end_matches('/').trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    host.eq_ignore_ascii_case(registry) || HUB.contains(&host) && HUB.contains(&registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_all_their_names() {
        assert!(same_registry("https://index.docker.io/v1/", "docker.io"));
        assert!(same_registry("GHCR.io", "ghcr.io"));
        assert!(same_registry("http://localhost:5000", "localhost:5000"));
        assert!(!same_registry("localhost:5000", "localhost:5001"));
        assert!(!same_registry("", "docker.io"));
    }

    #[test]
    fn given_credentials_come_first_and_show_no_secret() {
        let given = Credentials { registry: "r.example:1".into(), username: "me".into(), password: "hush".into() };
        let image = "r.example:1/a/b:1".parse().expect("a name");
        assert_eq!(find(&image, std::slice::from_ref(&given)), RegistryAuth::Basic("me".into(), "hush".into()));
        assert!(!format!("{given:?}").contains("hush"));
    }
}
