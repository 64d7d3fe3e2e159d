"""CodepipelineSettings: one Region of one account, and who we are there."""

from datetime import timedelta
from typing import Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from bridge.core.settings import Duration, TargetSettings


class CodepipelineSettings(TargetSettings):
    """One Region of one account. What its principal may do stands in `docs/aws/`: jobs, third-party jobs and approvals apart."""

    region: str = Field(
        pattern=r"^[a-z]{2,8}(-[a-z]{1,12}){1,3}-[0-9]{1,2}$",
        description="such as `eu-west-1`; jobs belong to one Region",
    )
    endpoint_url: HttpUrl | None = Field(
        default=None, description="the host alone, in place of the Region's own: a VPC endpoint, or an emulator"
    )
    access_key_id: SecretStr | None = Field(
        default=None,
        description="without it the AWS chain is asked: variables, profiles, web identity, container, instance",
    )
    secret_access_key: SecretStr | None = Field(default=None, description="belongs to access_key_id")
    session_token: SecretStr | None = Field(default=None, description="of temporary keys; these are not renewed")
    timeout: Duration = Field(default=timedelta(seconds=10), description="for one call; 3 s of it to connect")

    role_arn: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}$",
        description="entered with the keys above by sts:AssumeRole, for the jobs of another account",
    )
    external_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$",
        description="what the role's trust policy asks for besides, where its account is not ours",
    )
    sts_endpoint_url: HttpUrl | None = Field(
        default=None, description="in place of the Region's own STS: a VPC endpoint, or an emulator"
    )
    s3_endpoint_url: HttpUrl | None = Field(
        default=None, description="in place of the Region's own S3, for the artifacts of the agent's jobs"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_host(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url and (url.path not in (None, "", "/") or url.query or url.fragment or url.username or url.password):
            raise ValueError("expected the host alone, such as https://codepipeline.eu-west-1.amazonaws.com")
        return url

    @field_validator("sts_endpoint_url", "s3_endpoint_url")
    @classmethod
    def _is_an_endpoint(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url and (url.query or url.fragment or url.username or url.password):
            raise ValueError(
                "expected a host, perhaps with a path, such as https://vpce-1.sts.eu-west-1.vpce.amazonaws.com"
            )
        return url

    @model_validator(mode="after")
    def _has_both_halves(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("secret_access_key: access_key_id and secret_access_key are given together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token: needs its access_key_id and secret_access_key")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id: needs the role_arn that asks for it")
        return self

    @property
    def base_url(self) -> str:
        """The one host that is called."""
        if self.endpoint_url is not None:
            return str(self.endpoint_url).rstrip("/")
        return f"https://codepipeline.{self.region}.{self._suffix}"

    @property
    def s3_url(self) -> str:
        """S3 in the Region, without a slash at its end: buckets and keys are its paths."""
        if self.s3_endpoint_url is not None:
            return str(self.s3_endpoint_url).rstrip("/")
        return f"https://s3.{self.region}.{self._suffix}"

    @property
    def sts_url(self) -> str:
        if self.sts_endpoint_url is not None:
            return str(self.sts_endpoint_url)
        return f"https://sts.{self.region}.{self._suffix}"

    @property
    def _suffix(self) -> str:
        return "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"

    def given_credential(self) -> tuple[str, str, str | None] | None:
        """Return key id, secret and session token, where they are configured."""
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        token = self.session_token.get_secret_value() if self.session_token else None
        return self.access_key_id.get_secret_value(), self.secret_access_key.get_secret_value(), token
