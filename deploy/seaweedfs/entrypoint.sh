#!/bin/sh
# SeaweedFS in one process. Only the S3 port (and its gRPC port, which wants the signing key)
# listens beyond this container; master, volume server and filer stay on its loopback.
set -eu

weed=${WEED:-weed}
here=$(dirname "$0")
run=${SEAWEEDFS_RUN:-/run/seaweedfs}

# Credentials go into a file in memory, readable by this user only.
umask 077
expression=
for name in S3_ACCESS_KEY S3_SECRET_KEY MLFLOW_S3_ACCESS_KEY MLFLOW_S3_SECRET_KEY MLFLOW_BUCKET; do
    eval "value=\${$name:-}"
    case $value in
        '' | *[!A-Za-z0-9._-]*)
            echo "seaweedfs: $name must consist of letters, digits or . _ -" >&2
            exit 2
            ;;
    esac
    expression="$expression;s/@$name@/$value/g"
done
printf '%s\n' "${expression#;}" >"$run/s3.sed"
sed -f "$run/s3.sed" "$here/s3.json.template" >"$run/s3.json"
rm "$run/s3.sed"
for name in WEED_JWT_SIGNING_KEY WEED_JWT_FILER_SIGNING_KEY; do
    eval "value=\${$name:-}"
    if [ -z "$value" ]; then
        echo "seaweedfs: $name is empty; the internal ports would be open" >&2
        exit 2
    fi
done

# An S3 server that creates missing buckets hides spelling mistakes; one that deletes full ones
# loses data. Volume count follows the free disk; below 5 % free it turns read-only, not corrupt.
exec "$weed" -logtostderr=true server \
    -dir="${SEAWEEDFS_DATA:-/data}" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -master.volumeSizeLimitMB=1024 \
    -volume.max=0 -volume.minFreeSpace=5 \
    -filer -filer.disableHttp -filer.exposeDirectoryData=false \
    -s3 -s3.ip.bind="${SEAWEEDFS_BIND:-0.0.0.0}" -s3.port="${SEAWEEDFS_PORT:-8333}" \
    -s3.config="$run/s3.json" -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.autoCreateBucket=false -s3.allowDeleteBucketNotEmpty=false "$@"
