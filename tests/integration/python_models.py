"""The data-source tables as the Python service has them (contract/data.md, Databases): the DDL that
SQLAlchemy makes of its models on SQLite, and, where SQLAlchemy is there, such models."""

DDL = """
CREATE TABLE data_source_types (
\tid INTEGER NOT NULL, 
\tname VARCHAR(50) NOT NULL, 
\tdisplay_name VARCHAR(100) NOT NULL, 
\tdescription TEXT, 
\tconnector_class VARCHAR(200) NOT NULL, 
\tconfig_schema JSON NOT NULL, 
\tenabled BOOLEAN NOT NULL, 
\tcreated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), 
\tPRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_data_source_types_name ON data_source_types (name);
CREATE INDEX ix_data_source_types_id ON data_source_types (id);
CREATE TABLE data_sources (
\tid INTEGER NOT NULL, 
\tname VARCHAR(200) NOT NULL, 
\ttype_id INTEGER NOT NULL, 
\tconfig JSON NOT NULL, 
\tingestion_id VARCHAR(100) NOT NULL, 
\tenabled BOOLEAN NOT NULL, 
\tstatus VARCHAR(20) NOT NULL, 
\tlast_connection DATETIME, 
\tlast_error TEXT, 
\tcreated_by VARCHAR(100), 
\tcreated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), 
\tupdated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), 
\tPRIMARY KEY (id), 
\tFOREIGN KEY(type_id) REFERENCES data_source_types (id)
);
CREATE INDEX ix_data_sources_id ON data_sources (id);
CREATE UNIQUE INDEX ix_data_sources_ingestion_id ON data_sources (ingestion_id);
CREATE TABLE data_source_metrics (
\tid INTEGER NOT NULL, 
\tdata_source_id INTEGER NOT NULL, 
\tmessages_received INTEGER NOT NULL, 
\tmessages_processed INTEGER NOT NULL, 
\tlast_processed DATETIME, 
\tprocessing_latency_ms FLOAT, 
\terror_count INTEGER NOT NULL, 
\trecorded_at DATETIME DEFAULT (CURRENT_TIMESTAMP), 
\tPRIMARY KEY (id), 
\tFOREIGN KEY(data_source_id) REFERENCES data_sources (id)
);
CREATE INDEX ix_data_source_metrics_id ON data_source_metrics (id);
"""


def models(sqlalchemy):
    """The mapped classes: Type, Source, Metric, and their base."""
    from sqlalchemy import (JSON, Boolean, Column, DateTime, Float, ForeignKey, Integer, String,
                            Text, func)
    from sqlalchemy.orm import declarative_base, relationship

    Base = declarative_base()

    class Type(Base):
        __tablename__ = "data_source_types"
        id = Column(Integer, primary_key=True, index=True)
        name = Column(String(50), unique=True, index=True, nullable=False)
        display_name = Column(String(100), nullable=False)
        description = Column(Text)
        connector_class = Column(String(200), nullable=False)
        config_schema = Column(JSON, nullable=False)
        enabled = Column(Boolean, default=True, nullable=False)
        created_at = Column(DateTime, server_default=func.now())
        sources = relationship("Source", back_populates="type")

    class Source(Base):
        __tablename__ = "data_sources"
        id = Column(Integer, primary_key=True, index=True)
        name = Column(String(200), nullable=False)
        type_id = Column(Integer, ForeignKey("data_source_types.id"), nullable=False)
        config = Column(JSON, nullable=False)
        ingestion_id = Column(String(100), unique=True, index=True, nullable=False)
        enabled = Column(Boolean, default=True, nullable=False)
        status = Column(String(20), default="inactive", nullable=False)
        last_connection = Column(DateTime)
        last_error = Column(Text)
        created_by = Column(String(100))
        created_at = Column(DateTime, server_default=func.now())
        updated_at = Column(DateTime, server_default=func.now(), onupdate=func.now())
        type = relationship("Type", back_populates="sources")
        metrics = relationship("Metric", back_populates="source", cascade="all, delete-orphan")

    class Metric(Base):
        __tablename__ = "data_source_metrics"
        id = Column(Integer, primary_key=True, index=True)
        data_source_id = Column(Integer, ForeignKey("data_sources.id"), nullable=False)
        messages_received = Column(Integer, default=0, nullable=False)
        messages_processed = Column(Integer, default=0, nullable=False)
        last_processed = Column(DateTime)
        processing_latency_ms = Column(Float)
        error_count = Column(Integer, default=0, nullable=False)
        recorded_at = Column(DateTime, server_default=func.now())
        source = relationship("Source", back_populates="metrics")

    return Base, Type, Source, Metric
