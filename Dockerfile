FROM python:3.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /discrete_latents
COPY . .
RUN make install
CMD ["make", "demo"]
