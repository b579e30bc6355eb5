package splade_bridge;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.DocumentStoredFieldVisitor;
import org.apache.lucene.index.CodecReader;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.FieldInfo;
import org.apache.lucene.index.FieldInfos;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.MultiBits;
import org.apache.lucene.index.MultiTerms;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.index.SegmentCommitInfo;
import org.apache.lucene.index.SegmentInfos;
import org.apache.lucene.index.StoredFields;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/**
 * All that an index holds, page by page. Documents are numbered in the order of the index, over
 * all segments, without those that were deleted.
 *
 * <pre>
 * 16 lists      byte 0, or 1, a string and an int32 where the last page ended; int32 most postings
 *               -> int32 where this one ends, -1 for the end of its last list; int32 n, n times
 *               string term, int32 m; then the int32 documents of all n, and as many int32
 *               frequencies; none after the last
 * 17 documents  int32 from, byte whether to give contents
 *               -> int32 where the next page begins, int32 n, n times int32 length of id and of
 *               contents, -1 where it has none; then the bytes of all of them
 * 18 described  -> terms: name and value of what is known of the index
 * </pre>
 */
final class ReadIndex {
  private static final int PAGE = 1 << 22;
  private static final int PAGE_DOCUMENTS = 1 << 16;
  private static final Set<String> ID = Set.of("id");
  private static final Set<String> ID_AND_CONTENTS = Set.of("id", "contents");

  /** For the postings of a page: documents and frequencies. */
  private static final ThreadLocal<int[][]> PLACE = ThreadLocal.withInitial(() -> new int[2][0]);

  private final DirectoryReader reader;
  private final Bits live;
  private int[] numbers;

  ReadIndex(DirectoryReader reader) {
    this.reader = reader;
    live = MultiBits.getLiveDocs(reader);
  }

  /** The number of each document; null where none is deleted, since then they stay. */
  private synchronized int[] numbers() {
    if (live != null && numbers == null) {
      int[] counted = new int[reader.maxDoc()];
      int n = 0;
      for (int document = 0; document < counted.length; document++) {
        counted[document] = live.get(document) ? n++ : -1;
      }
      numbers = counted;
    }
    return numbers;
  }

  void lists(ByteBuffer request, Answer answer) throws IOException {
    int[] number = numbers();
    int at = answer.size();
    answer.putInt(-1).putInt(0);
    Terms contents = MultiTerms.getTerms(reader, "contents");
    if (contents == null) {
      return;
    }
    TermsEnum all = contents.iterator();
    BytesRef term;
    int from = 0;
    if (request.get() == 0) {
      term = all.next();
    } else {
      BytesRef last = OpenIndex.string(request);
      from = request.getInt();
      TermsEnum.SeekStatus found = all.seekCeil(last);
      if (found == TermsEnum.SeekStatus.END) {
        term = null;
      } else {
        boolean again = found == TermsEnum.SeekStatus.FOUND && from < 0;
        term = again ? all.next() : all.term();
        from = found == TermsEnum.SeekStatus.FOUND ? Math.max(0, from) : 0;
      }
    }
    int n = 0;
    int total = 0;
    int most = request.getInt();
    if (PLACE.get()[0].length < most) {
      PLACE.set(new int[2][most]);
    }
    int[] documents = PLACE.get()[0];
    int[] frequencies = PLACE.get()[1];
    PostingsEnum postings = null;
    int next = -1;
    for (; term != null && total < most && answer.size() < PAGE; term = all.next()) {
      postings = all.postings(postings, PostingsEnum.FREQS);
      int document = from > 0 ? postings.advance(from) : postings.nextDoc();
      from = 0;
      int before = total;
      for (; document != DocIdSetIterator.NO_MORE_DOCS; document = postings.nextDoc()) {
        int known = number == null ? document : number[document];
        if (known >= 0) {
          if (total == most) {
            next = document;
            break;
          }
          documents[total] = known;
          frequencies[total++] = postings.freq();
        }
      }
      if (total > before) {
        answer.putInt(term.length).put(term.bytes, term.offset, term.length).putInt(total - before);
        n++;
      }
    }
    answer.putInts(documents, total).putInts(frequencies, total);
    answer.setInt(at, next);
    answer.setInt(at + 4, n);
  }

  void documents(ByteBuffer request, Answer answer) throws IOException {
    int document = request.getInt();
    boolean withContents = request.get() != 0;
    int at = answer.size();
    int n = 0;
    answer.putInt(0).putInt(0);
    Answer texts = new Answer();
    LeafReaderContext leaf = null;
    StoredFields stored = null;
    while (document < reader.maxDoc() && n < PAGE_DOCUMENTS && texts.size() < PAGE) {
      if (live == null || live.get(document)) {
        if (leaf == null || document >= leaf.docBase + leaf.reader().maxDoc()) {
          leaf = reader.leaves().get(ReaderUtil.subIndex(document, reader.leaves()));
          stored = inOrder(leaf.reader());
        }
        DocumentStoredFieldVisitor visitor =
            new DocumentStoredFieldVisitor(withContents ? ID_AND_CONTENTS : ID);
        stored.document(document - leaf.docBase, visitor);
        Document found = visitor.getDocument();
        answer.putInt(put(found.get("id"), texts));
        answer.putInt(put(withContents ? found.get("contents") : null, texts));
        n++;
      }
      document++;
    }
    answer.put(texts.array(), 0, texts.size());
    answer.setInt(at, document);
    answer.setInt(at + 4, n);
  }

  /** What is made for merging unpacks a block once, where others do it for every document of it. */
  private static StoredFields inOrder(LeafReader leaf) throws IOException {
    boolean known = leaf instanceof CodecReader && ((CodecReader) leaf).getFieldsReader() != null;
    return known
        ? ((CodecReader) leaf).getFieldsReader().getMergeInstance()
        : leaf.storedFields();
  }

  /** The bytes that it takes, -1 for null. */
  private static int put(String value, Answer answer) {
    if (value == null) {
      return -1;
    }
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    answer.put(bytes);
    return bytes.length;
  }

  void described(Answer answer) throws IOException {
    SegmentInfos commit = SegmentInfos.readLatestCommit(reader.directory());
    Map<String, String> known = new TreeMap<>();
    Set<String> codecs = new TreeSet<>();
    Set<String> versions = new TreeSet<>();
    for (SegmentCommitInfo segment : commit) {
      codecs.add(segment.info.getCodec().getName());
      versions.add(segment.info.getVersion().toString());
    }
    known.put("codecs", String.join(", ", codecs));
    known.put("versions", String.join(", ", versions));
    known.put("created_major", Integer.toString(commit.getIndexCreatedVersionMajor()));
    known.put("segments", Integer.toString(commit.size()));
    known.put("deleted", Integer.toString(reader.numDeletedDocs()));
    for (FieldInfo field : FieldInfos.getMergedFieldInfos(reader)) {
      Terms terms = MultiTerms.getTerms(reader, field.name);
      String value =
          String.join(
              " ",
              field.getIndexOptions().toString(),
              field.hasNorms() ? "norms" : "",
              field.getDocValuesType().toString(),
              terms == null ? "" : Long.toString(terms.getSumDocFreq()));
      known.put("field " + field.name, value.trim().replaceAll(" +", " "));
    }
    answer.putInt(2 * known.size());
    known.forEach(
        (name, value) -> {
          for (String part : Arrays.asList(name, value)) {
            byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
            answer.putInt(bytes.length).put(bytes);
          }
        });
  }
}
