package splade_bridge;

import java.io.Closeable;
import java.io.IOException;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.index.BaseTermsEnum;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.FilterLeafReader;
import org.apache.lucene.index.ImpactsEnum;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.NumericDocValues;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.store.ByteBuffersDirectory;
import org.apache.lucene.store.Directory;
import org.apache.lucene.util.BytesRef;

/**
 * The field contents of documents whose posting lists come from a stream, for a merge that reads
 * them once and in their order. Every norm is 1, as Anserini's impact indexes have it.
 *
 * <p>What a reader is asked beside its lists is answered by that of a document in memory: each
 * Lucene describes fields and asks readers in its own way, and knows its own.
 */
final class ListsReader extends FilterLeafReader {
  private final Frames frames;
  private final int documents;
  private final Lists lists = new Lists();

  private ListsReader(LeafReader described, Frames frames, int documents) {
    super(described);
    this.frames = frames;
    this.documents = documents;
  }

  /** A document with the field, and the reader of it that a stream's is made of. */
  static final class Example implements Closeable {
    private final Directory directory = new ByteBuffersDirectory();
    private final DirectoryReader reader;

    Example() throws IOException {
      IndexWriterConfig config = new IndexWriterConfig().setSimilarity(new ImpactSimilarity());
      try (IndexWriter writer = new IndexWriter(directory, config)) {
        Document document = new Document();
        document.add(new Field("contents", "a", NewIndex.CONTENTS));
        writer.addDocument(document);
      }
      reader = DirectoryReader.open(directory);
    }

    ListsReader reader(Frames frames, int documents) {
      return new ListsReader(reader.leaves().get(0).reader(), frames, documents);
    }

    @Override
    public void close() throws IOException {
      reader.close();
      directory.close();
    }
  }

  @Override
  public int maxDoc() {
    return documents;
  }

  @Override
  public int numDocs() {
    return documents;
  }

  @Override
  public Terms terms(String field) {
    return field.equals("contents") ? lists : null;
  }

  @Override
  public NumericDocValues getNormValues(String field) {
    return field.equals("contents") ? new Ones() : null;
  }

  @Override
  public void checkIntegrity() {} // the stream's counts are checked at its end

  @Override
  public CacheHelper getCoreCacheHelper() {
    return null;
  }

  @Override
  public CacheHelper getReaderCacheHelper() {
    return null;
  }

  private final class Lists extends Terms {
    private boolean read;

    @Override
    public TermsEnum iterator() throws IOException {
      if (read) {
        throw new IOException("the lists of a stream can be read once");
      }
      read = true;
      return new ListsEnum();
    }

    @Override
    public long size() {
      return -1;
    }

    @Override
    public long getSumTotalTermFreq() {
      return -1;
    }

    @Override
    public long getSumDocFreq() {
      return -1;
    }

    @Override
    public int getDocCount() {
      return documents;
    }

    @Override
    public boolean hasFreqs() {
      return true;
    }

    @Override
    public boolean hasOffsets() {
      return false;
    }

    @Override
    public boolean hasPositions() {
      return false;
    }

    @Override
    public boolean hasPayloads() {
      return false;
    }
  }

  /** The terms, each larger than the last one by its bytes. */
  private final class ListsEnum extends BaseTermsEnum {
    private final ListEnum postings = new ListEnum();
    private Frames.Lists block = frames.lists();
    private int list; // of the block, the next one
    private BytesRef term;

    ListsEnum() throws IOException {}

    @Override
    public BytesRef next() throws IOException {
      if (term != null && postings.document != PostingsEnum.NO_MORE_DOCS) {
        throw new IOException("the list of " + term.utf8ToString() + " was not read to its end");
      }
      if (block != null && list == block.terms.length) {
        load();
      }
      if (block == null) {
        return term = null;
      }
      BytesRef next = block.terms[list];
      if (term != null && next.compareTo(term) <= 0) {
        throw new IOException(next.utf8ToString() + " comes after " + term.utf8ToString());
      }
      term = next;
      postings.document = -1;
      postings.continueWith(list++);
      return term;
    }

    private void load() throws IOException {
      block = frames.lists();
      list = 0;
    }

    @Override
    public BytesRef term() {
      return term;
    }

    @Override
    public PostingsEnum postings(PostingsEnum reuse, int flags) {
      return postings;
    }

    @Override
    public SeekStatus seekCeil(BytesRef text) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void seekExact(long ord) {
      throw new UnsupportedOperationException();
    }

    @Override
    public long ord() {
      throw new UnsupportedOperationException();
    }

    @Override
    public int docFreq() {
      throw new UnsupportedOperationException(); // known when all of the list has come
    }

    @Override
    public long totalTermFreq() {
      throw new UnsupportedOperationException();
    }

    @Override
    public ImpactsEnum impacts(int flags) {
      throw new UnsupportedOperationException();
    }

    /** The list of {@link #term}, from as many blocks as it has. */
    private final class ListEnum extends PostingsEnum {
      private int document;
      private int at;
      private int end;

      private void continueWith(int number) {
        at = block.start[number];
        end = block.start[number + 1];
      }

      @Override
      public int nextDoc() throws IOException {
        while (at == end) {
          if (list < block.terms.length) {
            return document = NO_MORE_DOCS;
          }
          load();
          if (block == null || !block.terms[0].equals(term)) {
            return document = NO_MORE_DOCS;
          }
          continueWith(list++);
        }
        int next = block.documents[at];
        if (next <= document || next >= documents || block.impacts[at] < 1) {
          throw new IOException(
              term.utf8ToString() + ": posting with document " + next + " after " + document
                  + " of " + documents + " and impact " + block.impacts[at]);
        }
        at++;
        return document = next;
      }

      @Override
      public int freq() {
        return block.impacts[at - 1];
      }

      @Override
      public int docID() {
        return document;
      }

      @Override
      public int advance(int target) throws IOException {
        return slowAdvance(target);
      }

      @Override
      public long cost() {
        return end - at;
      }

      @Override
      public int nextPosition() {
        return -1;
      }

      @Override
      public int startOffset() {
        return -1;
      }

      @Override
      public int endOffset() {
        return -1;
      }

      @Override
      public BytesRef getPayload() {
        return null;
      }
    }
  }

  /** 1 for each document. */
  private final class Ones extends NumericDocValues {
    private int document = -1;

    @Override
    public long longValue() {
      return 1;
    }

    @Override
    public boolean advanceExact(int target) {
      document = target;
      return true;
    }

    @Override
    public int docID() {
      return document;
    }

    @Override
    public int nextDoc() {
      return advance(document + 1);
    }

    @Override
    public int advance(int target) {
      return document = target < documents ? target : NO_MORE_DOCS;
    }

    @Override
    public long cost() {
      return documents;
    }
  }
}
