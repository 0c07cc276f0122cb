# The application of a fleet's hosts, one image a version.
FROM schedgen-demo-python:trixie
ARG VERSION
ENV VERSION=${VERSION}
COPY web.py /web.py
CMD ["python3", "/web.py"]
