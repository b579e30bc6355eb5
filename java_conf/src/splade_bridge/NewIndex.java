package splade_bridge;

import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.CodecReader;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.LogDocMergePolicy;
import org.apache.lucene.search.similarities.Similarity;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/**
 * Writes an index with the fields that Anserini writes: id (stored, and as doc values) and contents
 * (documents and frequencies, with norms). A frequency comes through TermFrequencyAttribute; no
 * term is ever written twice.
 */
final class NewIndex implements Closeable {
  /** Of the field contents. */
  static final FieldType CONTENTS = new FieldType();

  static {
    CONTENTS.setIndexOptions(IndexOptions.DOCS_AND_FREQS);
    CONTENTS.freeze();
  }

  private final FSDirectory directory;
  private final IndexWriter writer;
  private boolean finished;

  /**
   * @param similarity makes the norms
   */
  NewIndex(Path folder, Similarity similarity, int bufferMegabytes) throws IOException {
    directory = FSDirectory.open(folder);
    writer =
        new IndexWriter(
            directory,
            new IndexWriterConfig()
                .setOpenMode(IndexWriterConfig.OpenMode.CREATE)
                .setSimilarity(similarity)
                .setRAMBufferSizeMB(bufferMegabytes)
                .setMergePolicy(new LogDocMergePolicy()) // keeps the order of documents
                .setUseCompoundFile(false));
  }

  /**
   * Threads may call this at once, each with a stream of its own.
   *
   * @param terms null for a document without contents
   */
  void add(byte[] id, FrequencyStream terms) throws IOException {
    String name = new String(id, StandardCharsets.UTF_8);
    Document document = new Document();
    document.add(new StringField("id", name, Field.Store.YES));
    document.add(new BinaryDocValuesField("id", new BytesRef(id)));
    if (terms != null) {
      document.add(new Field("contents", terms, CONTENTS));
    }
    try {
      writer.addDocument(document);
    } catch (IllegalArgumentException e) {
      throw new IOException("document " + name + ": " + e.getMessage(), e);
    }
  }

  /** Take all that {@code reader} has into a segment. */
  void merge(CodecReader reader) throws IOException {
    writer.addIndexes(reader);
  }

  /** Make one segment of all; what it holds as {@link OpenIndex#statistics} tells it. */
  Answer finish() throws IOException {
    writer.commit();
    writer.forceMerge(1);
    writer.commit();
    finished = true;
    Answer held = new Answer();
    try (DirectoryReader reader = DirectoryReader.open(directory)) {
      OpenIndex.statistics(reader, held);
    }
    return held;
  }

  /** What is not finished is thrown away. */
  @Override
  public void close() throws IOException {
    if (finished) {
      writer.close();
    } else {
      writer.rollback();
    }
    directory.close();
  }
}
