"""Settings of the worker's web server."""

from pydantic import BaseModel, ConfigDict, Field


class WebSettings(BaseModel):
    """Where health, metrics and state are served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(
        default=8088,
        ge=0,
        le=65_535,
        description="Port; 0 takes a free one. If another worker uses the default port, the next free one is taken.",
    )
