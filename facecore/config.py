"""The one reader of configuration.

Values come, strongest first, from environment variables (`FACECORE_<GROUP>__<NAME>`, for
example `FACECORE_S3__ENDPOINT`) and from `$FACECORE_HOME/facecore.env`, which the embedded
platform writes with mode 0600. Nothing else in facecore reads the environment.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from facecore.errors import ConfigError

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones
        raise ValueError(f"{name!r} is not a time zone like Europe/Berlin") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_timezone)]
LOOPBACK = ("127.0.0.1", "localhost")
BUCKETS = ("landing", "images", "quarantine", "crops", "snapshots", "reports", "mlflow")


class DatabaseSettings(BaseModel):
    """PostgreSQL with pgvector: the catalogue."""

    host: str = "127.0.0.1"
    port: int = 5432
    name: str = "facecore"
    user: str = "facecore"
    password: SecretStr = SecretStr("")
    connect_timeout_s: int = 10

    @property
    def dsn(self) -> dict[str, Any]:
        """Arguments for `psycopg2.connect`. Holds the password: never log it."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password.get_secret_value(),
            "connect_timeout": self.connect_timeout_s,
            "application_name": "facecore",
        }


class S3Settings(BaseModel):
    """S3 object storage. Bucket names are `bucket_prefix` + one of `BUCKETS`."""

    endpoint: str = "http://127.0.0.1:8333"
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    region: str = "us-east-1"
    bucket_prefix: str = ""
    connections: int = Field(default=16, ge=1, description="concurrent requests per process")

    def bucket(self, name: str) -> str:
        """The real name of one of the platform's buckets."""
        if name not in BUCKETS:
            raise ConfigError(f"unknown bucket {name!r}; known are {', '.join(BUCKETS)}.")
        return self.bucket_prefix + name


class MlflowSettings(BaseModel):
    """MLflow tracking server and registry."""

    tracking_uri: str = "http://127.0.0.1:5000"
    username: str = ""
    password: SecretStr = SecretStr("")
    detector: str = "face-detector"
    embedder: str = "face-embedder"
    matcher: str = "face-matcher"
    autoencoder: str = "face-autoencoder"
    forecaster: str = "activity-forecaster"
    alias: str = "champion"


class IngestSettings(BaseModel):
    """Landing bucket → catalogue."""

    shard_size: int = Field(default=512, ge=1, le=10_000, description="images per shard")
    max_shards: int = Field(default=500, ge=1, le=1000, description="shards per DAG run")
    keep_landing: bool = Field(default=False, description="leave landing objects in place")
    max_bytes: int = Field(default=64 * 2**20, description="larger files are not read")
    max_pixels: int = Field(default=64_000_000, description="larger images are not decoded")
    camera_timezone: TimeZone = Field(
        default="UTC", description="where clocks tick that record no zone (EXIF, keys)"
    )
    near_duplicate_bits: int = Field(default=3, ge=0, le=3, description="of 64 hash bits")


class GateSettings(BaseModel):
    """Quality gate: limits per image, and what a healthy batch looks like."""

    min_side_px: int = 64
    max_aspect: float = 5.0
    min_sharpness: float = Field(
        default=0.32, description="photographs have 0.5 to 2, far too blurred ones 0.1 to 0.3"
    )
    min_brightness: float = 16.0
    max_brightness: float = 242.0
    min_contrast: float = 8.0
    min_dynamic_range: float = 24.0
    min_bits_per_pixel: float = 0.05
    batch_min_images: int = Field(default=20, description="smaller batches skip batch checks")
    batch_max_rejected: Ratio = Field(default=0.5, description="share of a batch")
    batch_max_same_image: Ratio = Field(default=0.8, description="stuck camera, per source")
    batch_max_future_hours: float = Field(default=26.0, description="wrong clock")
    batch_max_wrong_clock: Ratio = Field(default=0.2, description="share of a source's images")


class ExtractSettings(BaseModel):
    """Detect → align → embed."""

    shard_size: int = Field(
        default=8192,
        ge=1,
        le=20_000,
        description="images per shard; what a worker that dies has to do again",
    )
    shard_pixels: int = Field(
        default=4_000_000_000,
        ge=1,
        description="pixels of a shard's images together: fewer of them where they are large",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    backend: Literal["auto", "torch", "openvino"] = Field(
        default="auto", description="what computes on a CPU; auto: OpenVINO where it is installed"
    )
    threads: int = Field(default=0, ge=0, description="0: the cores this process may use")
    score_threshold: Ratio = 0.6
    nms_iou: Ratio = 0.3
    detect_sides_px: tuple[int, ...] = Field(
        default=(320, 1280), description="longest sides at which each image is searched"
    )
    batch_images: int = Field(default=32, ge=1)
    batch_crops: int = Field(default=64, ge=1)


class RaySettings(BaseModel):
    """Extraction on a Ray cluster: `facecore extract --engine ray`."""

    address: str = Field(default="local", description="local, auto, host:port or ray://host:port")
    actors: int = Field(default=0, ge=0, description="holders of the networks; 0: what fits")
    cpus_per_actor: int = Field(
        default=2, ge=1, description="cores of an actor on a cluster without GPUs"
    )


class IdentifySettings(BaseModel):
    """Probe → person. The threshold itself belongs to the model version."""

    target_fpir: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.01, description="share of unknown faces that may be named wrongly (1:N)"
    )
    review_margin: float = Field(
        default=0.05, ge=0.0, description="lead over the second person below which a human looks"
    )
    top_k: int = Field(default=5, ge=1, le=100)


class SearchSettings(BaseModel):
    """Nearest vectors: exact products for batches, an index for single look-ups."""

    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        default="auto",
        description="of the products that screen batches; the answer is float32's in every case",
    )
    min_recall: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.99, description="of the index; below it look-ups are exact"
    )
    recall_queries: int = Field(
        default=500, ge=20, le=10_000, description="faces an index is measured with"
    )
    exact_up_to: int = Field(
        default=10_000, ge=0, le=1_000_000, description="so few faces are compared exactly"
    )


class ClusterSettings(BaseModel):
    """Unknown faces → proposed people. Thresholds come from the model's calibration."""

    target_fpir: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.005,
        description="share of faces that may be linked with a stranger among all faces",
    )
    review_margin: float = Field(
        default=0.05, ge=0.0, description="lead over the second person below which a human looks"
    )
    min_quality: Ratio = Field(
        default=0.4, description="poorer crops found nobody and speak for nobody"
    )
    neighbours: int = Field(default=48, ge=2, le=512, description="nearest faces kept per face")
    schedule: str = Field(
        default="0 3 * * 0", description="cron expression of the full pass; empty: only by hand"
    )


class ReportSettings(BaseModel):
    """Scheduled reports."""

    top_people: int = 12
    timezone: TimeZone = "UTC"
    k_anonymity: int = Field(
        default=5, ge=2, description="fewest people a number of a shared report may be about"
    )
    visit_gap_minutes: int = Field(
        default=30, ge=1, description="unseen for longer, a person's visit is over"
    )


class DriftSettings(BaseModel):
    """When a change of the data or of the models' work is an alert."""

    period_days: int = Field(default=7, ge=1, description="days that are looked at")
    reference_days: int = Field(default=28, ge=1, description="days before, to compare with")
    min_samples: int = Field(
        default=100, ge=30, description="fewer values on either side are not compared"
    )
    max_samples: int = Field(default=2000, ge=100, description="rows per two-sample test and side")
    psi: float = Field(default=0.25, gt=0.0, description="population stability index from which on")
    auc: float = Field(
        default=0.65, gt=0.5, lt=1.0, description="of telling the two periods apart, from which on"
    )
    score_shift: float = Field(
        default=0.05, gt=0.0, description="of an impostor score's quantile, from which on"
    )
    alpha: float = Field(
        default=0.001, gt=0.0, lt=0.5, description="chance of a false alert per measure"
    )
    canary_tolerance: float = Field(
        default=0.01, gt=0.0, lt=1.0, description="cosine distance of a canary from what it was"
    )


class AnalysisSettings(BaseModel):
    """Anomaly scores of faces, forecasts of activity."""

    unusual_rank: Ratio = Field(
        default=0.99, description="share of ordinary crops that are nearer than an unusual one"
    )
    forecast_hours: int = Field(default=24, ge=1, le=168, description="hours ahead")
    forecast_sources: int = Field(default=50, ge=1, description="the busiest ones are forecast")
    backtest_days: int = Field(default=14, ge=1, description="past days methods are compared on")
    flag_days: int = Field(default=28, ge=1, description="past days that are looked at for flags")


class TrainingSettings(BaseModel):
    """Scheduled training of challengers."""

    schedule: str = Field(
        default="", description="cron expression or preset such as @weekly; empty: only by hand"
    )


class Settings(BaseSettings):
    """All settings; see each group. `home` holds the embedded platform's state."""

    model_config = SettingsConfigDict(
        env_prefix="FACECORE_", env_nested_delimiter="__", extra="ignore"
    )

    home: Path = Path("var")
    data_dir: Path | None = Field(default=None, description="datasets already on disk")
    model_dir: Path | None = Field(default=None, description="first mirror of model weights")
    database: DatabaseSettings = DatabaseSettings()
    s3: S3Settings = S3Settings()
    mlflow: MlflowSettings = MlflowSettings()
    ingest: IngestSettings = IngestSettings()
    gate: GateSettings = GateSettings()
    extract: ExtractSettings = ExtractSettings()
    ray: RaySettings = RaySettings()
    identify: IdentifySettings = IdentifySettings()
    search: SearchSettings = SearchSettings()
    cluster: ClusterSettings = ClusterSettings()
    report: ReportSettings = ReportSettings()
    drift: DriftSettings = DriftSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def cache(self) -> Path:
        """Downloaded weights, samples and converted models; safe to delete."""
        return self.home / "cache"


def home_dir() -> Path:
    """`FACECORE_HOME`, or `var` in the working directory, as an absolute path."""
    return Path(os.environ.get("FACECORE_HOME") or "var").absolute()


def no_proxy() -> str:
    """`NO_PROXY` as it is, with this machine in it: what runs here is reached without a proxy."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return ",".join(filter(None, [named, *LOOPBACK]))


def exported_store_settings() -> list[str]:
    """Names of environment variables that lead to other stores than the embedded platform's."""
    groups = ("FACECORE_DATABASE__", "FACECORE_S3__", "FACECORE_MLFLOW__")
    return sorted(name for name in os.environ if name.upper().startswith(groups))


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        ConfigError: a value is invalid; the message names each setting.
    """
    home = home_dir()
    try:
        return Settings(_env_file=home / "facecore.env", home=home)  # type: ignore[call-arg]
    except ValidationError as error:
        faults = "; ".join(
            f"FACECORE_{'__'.join(str(p) for p in e['loc']).upper()}: {e['msg']}"
            for e in error.errors()
        )
        raise ConfigError(f"invalid settings: {faults}.") from None
    except SettingsError as error:  # the message names the field, and shows no value
        raise ConfigError(
            f"invalid settings: {error}.",
            remedy="Lists and groups are JSON, such as FACECORE_EXTRACT__DETECT_SIDES_PX='[320]'.",
        ) from None
