package splade_bridge;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.lucene.document.Document;
import org.apache.lucene.index.CodecReader;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexableField;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.MultiTerms;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.search.similarities.BM25Similarity;
import org.apache.lucene.search.similarities.Similarity;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/**
 * One open index, and everything that is asked of it. Strings are an int32 of bytes and UTF-8;
 * "terms" are an int32 n and n strings. Requests (the byte is the method) and their answers:
 *
 * <pre>
 * 1 search       int32 k, byte exhaustive, byte scores, float k1, float b, terms, n floats of weights
 *                -> int64 nanoseconds, int32 n, n float scores, n int32 id lengths, the ids
 * 2 impacts      string id, terms -> int32 found (0 or 1), n int32, 0 where the document lacks one
 * 3 terms        byte 0, or 1 and a string -> terms in byte order, those after the string; none
 *                after the last
 * 4 frequencies  terms -> n int32: the documents that hold each
 * 5 stored       string id -> int32 found (0 or 1), terms: name and value of each stored field
 * 6 statistics   -> int64 documents, ids, postings, sum of frequencies, terms
 * 7 check        -> nothing, once every file has Lucene's own checksum
 * 8 ids          -> int64 documents without one, with one that no run holds, with one that another
 *                has; int32 2 and two strings, examples of the last two
 * 16 to 18       see ReadIndex
 * </pre>
 *
 * Scores are query weight times stored frequency (0), or those of BM25 (1, 2), as Anserini's run
 * files have them (2).
 */
final class OpenIndex {
  private static final int PAGE = 1 << 20;

  private final DirectoryReader reader;
  private final ReadIndex whole;
  private Ids ids;

  OpenIndex(Path folder) throws IOException {
    IndexSearcher.setMaxClauseCount(Integer.MAX_VALUE);
    reader = DirectoryReader.open(FSDirectory.open(folder));
    whole = new ReadIndex(reader);
  }

  Answer answer(int method, ByteBuffer request, Answer answer) throws IOException {
    switch (method) {
      case 1 -> search(request, answer);
      case 2 -> impacts(request, answer);
      case 3 -> terms(request, answer);
      case 4 -> frequencies(request, answer);
      case 5 -> stored(request, answer);
      case 6 -> statistics(reader, answer);
      case 7 -> check();
      case 8 -> ids().check(reader, answer);
      case 16 -> whole.lists(request, answer);
      case 17 -> whole.documents(request, answer);
      case 18 -> whole.described(answer);
      default -> throw new IOException("unknown method " + method);
    }
    return answer;
  }

  private void search(ByteBuffer request, Answer answer) throws IOException {
    int k = Math.max(1, Math.min(request.getInt(), reader.maxDoc()));
    boolean exhaustive = request.get() != 0;
    int scoring = request.get();
    float k1 = request.getFloat();
    float b = request.getFloat();
    BytesRef[] terms = strings(request);
    BooleanQuery.Builder clauses = new BooleanQuery.Builder();
    for (BytesRef term : terms) {
      Query query = new TermQuery(new Term("contents", term));
      clauses.add(new BoostQuery(query, request.getFloat()), BooleanClause.Occur.SHOULD);
    }
    IndexSearcher searcher =
        searcher(reader, scoring == 0 ? new ImpactSimilarity() : new BM25Similarity(k1, b));
    Ids table = ids();
    long started = System.nanoTime();
    Top top = new Top(k, table, exhaustive);
    searcher.search(clauses.build(), top);
    int[] documents = top.sorted();
    long nanos = System.nanoTime() - started;
    if (scoring == 2) {
      tellTiesApart(top.scores, documents.length);
    }
    answer.putLong(nanos).putInt(documents.length);
    for (int i = 0; i < documents.length; i++) {
      answer.putFloat(top.scores[i]);
    }
    for (int document : documents) {
      answer.putInt(table.length(document));
    }
    for (int document : documents) {
      table.put(document, answer);
    }
  }

  private static IndexSearcher searcher(DirectoryReader reader, Similarity similarity) {
    IndexSearcher searcher = new IndexSearcher(reader);
    searcher.setSimilarity(similarity);
    searcher.setQueryCache(null);
    return searcher;
  }

  /** Four decimals, and a millionth less for every score in a row that is not above the next. */
  private static void tellTiesApart(float[] scores, int n) {
    int ties = 0;
    for (int i = 0; i < n; i++) {
      scores[i] = (float) (Math.round(scores[i] * 10000.0) / 10000.0);
      ties = i == 0 || scores[i - 1] - scores[i] > 1e-4f ? 0 : ties + 1;
      scores[i] -= 1e-6f * ties;
    }
  }

  private synchronized Ids ids() throws IOException {
    if (ids == null) {
      ids = new Ids(reader);
    }
    return ids;
  }

  private void impacts(ByteBuffer request, Answer answer) throws IOException {
    Found found = find(string(request));
    BytesRef[] terms = strings(request);
    answer.putInt(found == null ? 0 : 1);
    for (BytesRef term : terms) {
      PostingsEnum postings =
          found == null
              ? null
              : found.leaf.reader().postings(new Term("contents", term), PostingsEnum.FREQS);
      boolean there = postings != null && postings.advance(found.document) == found.document;
      answer.putInt(there ? postings.freq() : 0);
    }
  }

  private void terms(ByteBuffer request, Answer answer) throws IOException {
    int at = answer.size();
    int n = 0;
    answer.putInt(0);
    Terms contents = MultiTerms.getTerms(reader, "contents");
    if (contents != null) {
      TermsEnum all = contents.iterator();
      BytesRef term = null;
      if (request.get() == 0) {
        term = all.next();
      } else {
        BytesRef last = string(request);
        switch (all.seekCeil(last)) {
          case FOUND -> term = all.next();
          case NOT_FOUND -> term = all.term();
          case END -> {}
        }
      }
      for (; term != null && answer.size() < PAGE; term = all.next()) {
        answer.putInt(term.length).put(term.bytes, term.offset, term.length);
        n++;
      }
    }
    answer.setInt(at, n);
  }

  private void frequencies(ByteBuffer request, Answer answer) throws IOException {
    for (BytesRef term : strings(request)) {
      answer.putInt(reader.docFreq(new Term("contents", term)));
    }
  }

  private void stored(ByteBuffer request, Answer answer) throws IOException {
    Found found = find(string(request));
    answer.putInt(found == null ? 0 : 1);
    int at = answer.size();
    int n = 0;
    answer.putInt(0);
    if (found != null) {
      Document document =
          reader.storedFields().document(found.leaf.docBase + found.document);
      for (IndexableField field : document) {
        if (field.stringValue() != null) {
          for (String part : new String[] {field.name(), field.stringValue()}) {
            byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
            answer.putInt(bytes.length).put(bytes);
            n++;
          }
        }
      }
    }
    answer.setInt(at, n);
  }

  /** Reads every file of every segment to its end; an open index is checked in its heads alone. */
  private void check() throws IOException {
    for (LeafReaderContext leaf : reader.leaves()) {
      if (leaf.reader() instanceof CodecReader segment) {
        segment.checkIntegrity();
      }
    }
  }

  /** See method 6. */
  static void statistics(DirectoryReader reader, Answer answer) throws IOException {
    Terms contents = MultiTerms.getTerms(reader, "contents");
    Terms ids = MultiTerms.getTerms(reader, "id");
    answer
        .putLong(reader.numDocs())
        .putLong(ids == null ? 0 : ids.size())
        .putLong(contents == null ? 0 : contents.getSumDocFreq())
        .putLong(contents == null ? 0 : contents.getSumTotalTermFreq())
        .putLong(contents == null ? 0 : contents.size());
  }

  /** A document by its number in a segment. */
  private record Found(LeafReaderContext leaf, int document) {}

  private Found find(BytesRef id) throws IOException {
    for (LeafReaderContext leaf : reader.leaves()) {
      PostingsEnum documents = leaf.reader().postings(new Term("id", id), PostingsEnum.NONE);
      Bits live = leaf.reader().getLiveDocs(); // a document that was replaced is still there
      while (documents != null && documents.nextDoc() != DocIdSetIterator.NO_MORE_DOCS) {
        if (live == null || live.get(documents.docID())) {
          return new Found(leaf, documents.docID());
        }
      }
    }
    return null;
  }

  static BytesRef string(ByteBuffer request) {
    int size = request.getInt();
    int start = request.position();
    request.position(start + size);
    return new BytesRef(Arrays.copyOfRange(request.array(), start, start + size));
  }

  private static BytesRef[] strings(ByteBuffer request) {
    BytesRef[] found = new BytesRef[request.getInt()];
    for (int i = 0; i < found.length; i++) {
      found[i] = string(request);
    }
    return found;
  }
}
